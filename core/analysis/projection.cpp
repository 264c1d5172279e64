#include "core/analysis/projection.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>
#include <tuple>

#include "core/model/error.h"

namespace savepoint {

namespace {

// Below this fraction of the largest eigenvalue an axis is rounding noise of the Gram matrix.
constexpr double kRankTolerance = 1e-12;

void check_rows(const at::Tensor& rows, int64_t components) {
    if (!rows.defined() || rows.dim() != 2 || rows.size(0) == 0 || rows.size(1) == 0)
        throw InputError("projection: rows must be a table [n, d] with at least one row");
    if (components < 1) throw InputError("projection: at least one component must be asked for");
    if (!at::isfinite(rows).all().item<bool>())
        throw InputError("projection: the rows hold a value that is not finite");
}

void check_width(const at::Tensor& x, int64_t width, const char* name) {
    if (!x.defined() || x.dim() != 1 || x.size(0) != width)
        throw InputError(std::string("projection: ") + name + " must have " + std::to_string(width) + " entries");
}

at::Tensor to_double(const at::Tensor& x) { return x.to(at::kCPU, at::kDouble); }

at::Tensor usable_scale(const at::Tensor& scale, int64_t width) {
    if (!scale.defined()) return at::ones({width}, at::kDouble);
    check_width(scale, width, "scale");
    const at::Tensor given = to_double(scale);
    return at::where(at::isfinite(given).logical_and(given > 0), given, at::ones_like(given));
}

struct Spectrum {
    at::Tensor variances;  // descending
    at::Tensor axes;       // [kept, d], one a variance
};

// eigh sorts ascending; the strongest `keep` come back first.
Spectrum strongest(const at::Tensor& gram, int64_t keep) {
    auto [values, vectors] = at::linalg_eigh(gram, "L");
    const int64_t n = values.size(0);
    keep = std::min(keep, n);
    return {values.slice(0, n - keep, n).flip(0).clamp_min(0), vectors.slice(1, n - keep, n).flip(1).t().contiguous()};
}

Spectrum decompose(const at::Tensor& centred, int64_t keep) {
    const int64_t n = centred.size(0), d = centred.size(1);
    if (d <= n) return strongest(at::mm(centred.t(), centred), keep);
    Spectrum spectrum = strongest(at::mm(centred, centred.t()), keep);
    const at::Tensor length = spectrum.variances.sqrt().clamp_min(std::numeric_limits<double>::min());
    spectrum.axes = at::mm(spectrum.axes, centred).div_(length.unsqueeze(1));
    return spectrum;
}

void fix_signs(at::Tensor& axes) {
    const at::Tensor strongest = axes.gather(1, axes.abs().argmax(1, true));
    axes.mul_(at::where(strongest < 0, -1.0, 1.0));
}

// std::normal_distribution is another function in every library; this is the same everywhere.
at::Tensor normal_draws(int64_t rows, int64_t columns, uint64_t seed) {
    std::mt19937_64 draws(seed);
    const auto uniform = [&] { return static_cast<double>(draws() >> 11) * 0x1p-53; };
    at::Tensor table = at::empty({rows, columns}, at::kDouble);
    auto* out = table.data_ptr<double>();
    for (int64_t i = 0; i < rows * columns; ++i)
        out[i] = std::sqrt(-2 * std::log(1 - uniform())) * std::cos(6.283185307179586 * uniform());
    return table;
}

at::Tensor orthonormal(const at::Tensor& columns) { return std::get<0>(at::linalg_qr(columns, "reduced")); }

PcaProjection with_spectrum(const at::Tensor& mean, const at::Tensor& divisor, Spectrum spectrum, double total,
                            int64_t components) {
    fix_signs(spectrum.axes);
    const at::Tensor real = spectrum.variances > kRankTolerance * spectrum.variances[0];
    PcaProjection pca{mean.to(at::kFloat), divisor.to(at::kFloat), at::zeros({components, mean.size(0)}, at::kFloat),
                      at::zeros({components}, at::kFloat)};
    const int64_t kept = total > 0 ? std::min(real.sum().item<int64_t>(), components) : 0;
    pca.axes.slice(0, 0, kept).copy_(spectrum.axes.slice(0, 0, kept));
    if (kept > 0) pca.explained.slice(0, 0, kept).copy_(spectrum.variances.slice(0, 0, kept) / total);
    return pca;
}

}  // namespace

at::Tensor PcaProjection::project(const at::Tensor& rows) const {
    if (!rows.defined() || rows.dim() != 2 || rows.size(1) != mean.size(0))
        throw InputError("projection: rows must be [n, " + std::to_string(mean.size(0)) + "]");
    const at::Tensor centred = (to_double(rows) - mean).div_(scale);
    return at::mm(centred, to_double(axes).t()).to(at::kFloat);
}

PcaProjection fit_pca(const at::Tensor& rows, int64_t components, const at::Tensor& scale) {
    check_rows(rows, components);
    const int64_t d = rows.size(1);
    const at::Tensor data = to_double(rows), divisor = usable_scale(scale, d);
    const at::Tensor mean = data.mean(0);
    const at::Tensor centred = (data - mean).div_(divisor);
    Spectrum spectrum = decompose(centred, components);
    return with_spectrum(mean, divisor, std::move(spectrum), centred.square().sum().item<double>(), components);
}

PcaProjection fit_pca_randomized(const at::Tensor& rows, int64_t components, const RandomizedPca& how) {
    check_rows(rows, components);
    const int64_t n = rows.size(0), d = rows.size(1);
    const at::Tensor data = to_double(rows), mean = data.mean(0), centred = data - mean;
    const int64_t sketched = std::min(components + how.oversamples, std::min(n, d));
    at::Tensor basis = orthonormal(at::mm(centred, normal_draws(d, sketched, how.seed)));  // [n, sketched]
    for (int64_t round = 0; round < how.rounds; ++round)
        basis = orthonormal(at::mm(centred, orthonormal(at::mm(centred.t(), basis))));
    const at::Tensor small = at::mm(basis.t(), centred);  // [sketched, d]
    Spectrum spectrum = strongest(at::mm(small, small.t()), std::min(components, sketched));
    const at::Tensor length = spectrum.variances.sqrt().clamp_min(std::numeric_limits<double>::min());
    spectrum.axes = at::mm(spectrum.axes, small).div_(length.unsqueeze(1));
    return with_spectrum(mean, at::ones({d}, at::kDouble), std::move(spectrum), centred.square().sum().item<double>(),
                         components);
}

at::Tensor standardized_distance(const at::Tensor& z, const at::Tensor& mean, const at::Tensor& std) {
    if (!z.defined() || z.dim() != 2) throw InputError("standardized distance: z must be [n, d]");
    check_width(mean, z.size(1), "mean");
    check_width(std, z.size(1), "std");
    const at::Tensor spread = to_double(std).abs();
    const double floor = std::max(1e-6 * spread.mean().item<double>(), 1e-12);
    const at::Tensor deviation = (to_double(z) - to_double(mean)).div_(spread.clamp_min(floor));
    return deviation.square().mean(1).sqrt().to(at::kFloat);
}

}  // namespace savepoint
