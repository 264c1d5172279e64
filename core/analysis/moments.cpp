#include "core/analysis/moments.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <tuple>

#include "core/model/error.h"

namespace savepoint {

namespace {

constexpr int64_t kMostRecent = 1024;  // samples; a float32 sum of so few is good to a millionth

void start(Moments& moments, const at::Tensor& samples) {
    const int64_t sets = samples.size(0), d = samples.size(2);
    moments.shift = samples.mean(1).to(at::kFloat);
    moments.sum = at::zeros({sets, d}, at::kDouble);
    moments.outer = at::zeros({sets, d, d}, at::kDouble);
    moments.recent = at::zeros({sets, d, d}, samples.scalar_type());
    moments.cubic = at::zeros({sets, d}, at::kDouble);
    moments.fourth = at::zeros({sets}, at::kDouble);
}

at::Tensor row_dot(const at::Tensor& a, const at::Tensor& b) { return a.mul(b).sum(-1); }

// sum |x - m|^4, from moments that were not taken about the mean m.
at::Tensor central_fourth(const Moments& moments, const at::Tensor& outer, const at::Tensor& m) {
    const double n = static_cast<double>(moments.count);
    const at::Tensor squares = outer.diagonal(0, 1, 2).sum(-1), m2 = row_dot(m, m);
    const at::Tensor outer_m = at::bmm(outer, m.unsqueeze(-1)).squeeze(-1);
    // |x - m|^4 = (|x|^2 - 2 m.x + |m|^2)^2, summed term by term; m.sum = n |m|^2.
    return moments.fourth + 4 * row_dot(m, outer_m) - 4 * row_dot(m, moments.cubic) + 2 * m2 * squares -
           3 * n * m2.square();
}

}  // namespace

void Moments::add(const at::Tensor& samples) {
    if (count == 0) start(*this, samples);
    const at::Tensor x = samples - shift.unsqueeze(1);
    const at::Tensor squares = x.square().sum(2);
    sum.add_(x.sum(1));
    recent.baddbmm_(x.transpose(1, 2), x);
    cubic.add_(at::bmm(squares.unsqueeze(1), x).squeeze(1));
    fourth.add_(squares.square().sum(1, false, at::kDouble));
    count += samples.size(1);
    recent_count += samples.size(1);
    if (recent_count < kMostRecent) return;
    outer.add_(recent);
    recent.zero_();
    recent_count = 0;
}

ShrunkSets ledoit_wolf(const Moments& moments, int64_t independent) {
    const double n = static_cast<double>(moments.count), d = static_cast<double>(moments.sum.size(1));
    const double draws = independent > 0 ? static_cast<double>(independent) : n;
    const at::Tensor m = moments.sum / n, outer = moments.outer_sum();
    at::Tensor covariance = outer / n - m.unsqueeze(2) * m.unsqueeze(1);
    const at::Tensor mu = covariance.diagonal(0, 1, 2).mean(-1);
    const at::Tensor squared = covariance.square().sum({1, 2});
    const at::Tensor dispersion = ((squared - d * mu.square()) / d).clamp_min(0);
    const at::Tensor noise = ((central_fourth(moments, outer, m) / n - squared) / (draws * d)).clamp_min(0);
    // A multiple of the identity has nothing to shrink (0 / 0).
    const at::Tensor shrinkage =
        at::where(dispersion > 0, at::minimum(noise, dispersion) / dispersion, at::zeros_like(mu));
    covariance.mul_((1 - shrinkage).view({-1, 1, 1}));
    covariance.diagonal(0, 1, 2).add_((shrinkage * mu).unsqueeze(1));
    return {moments.shift + m, covariance, shrinkage};
}

at::Tensor whitening(const at::Tensor& covariance) {
    const int64_t d = covariance.size(2);
    const at::Tensor mu = covariance.diagonal(0, 1, 2).mean(-1).clamp_min(1e-24);
    if (!covariance.isfinite().all().item<bool>())
        throw InputError("covariance: the samples hold a value that is not finite");
    at::Tensor ridge = at::zeros_like(mu), factor, failed;
    do {
        at::Tensor ridged = covariance.clone();
        ridged.diagonal(0, 1, 2).add_(ridge.unsqueeze(1));
        auto [lower, info] = at::linalg_cholesky_ex(ridged);
        factor = lower;
        failed = info != 0;
        ridge = at::where(failed, at::maximum(ridge * 100, mu * 1e-10), ridge);
    } while (failed.any().item<bool>());
    return at::linalg_solve_triangular(factor, at::eye(d, at::kDouble).expand_as(factor), false);
}

}  // namespace savepoint
