#include "core/sidecar/eigen_basis.h"

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>

#include <algorithm>

namespace savepoint {

namespace {

constexpr int64_t kSmall = 512;  // below it a full float64 decomposition takes tens of milliseconds
constexpr int64_t kSpare = 32;   // more columns than asked for: the last ones converge too
constexpr int kMaxIterations = 24;
constexpr double kSettled =
    3e-4;  // of the variance, gained by one more iteration: what is still missing is of that order

// [.., k, d]
at::Tensor with_fixed_signs(const at::Tensor& rows) {
    const at::Tensor largest = rows.abs().argmax(-1, /*keepdim=*/true);
    const at::Tensor sign = rows.gather(-1, largest).sign();
    return rows * at::where(sign == 0, at::ones_like(sign), sign);
}

EigenBasis full_decomposition(const at::Tensor& covariance, int64_t components) {
    const int64_t d = covariance.size(0);
    // float32 beyond kSmall: the vectors stay orthonormal to 1e-5, at half the time.
    const at::Tensor matrix = d <= kSmall ? covariance : covariance.to(at::kFloat);
    auto [values, columns] = at::linalg_eigh(matrix);
    values = values.flip(0).slice(0, 0, components).to(at::kDouble).clamp_min(0);
    const at::Tensor rows = columns.flip(1).slice(1, 0, components).t();
    return {values, with_fixed_signs(rows).to(at::kFloat).contiguous(), covariance.trace().item<double>()};
}

at::Tensor seeded_start(int64_t rows, int64_t columns) {
    at::Generator generator = at::detail::createCPUGenerator(20240229);
    return at::randn({rows, columns}, generator, at::kFloat);
}

EigenBasis orthogonal_iteration(const at::Tensor& covariance, int64_t components) {
    const int64_t d = covariance.size(0);
    const double total = covariance.trace().item<double>();
    const at::Tensor matrix = covariance.to(at::kFloat);
    at::Tensor basis = std::get<0>(at::linalg_qr(at::matmul(matrix, seeded_start(d, components + kSpare))));
    at::Tensor image = at::matmul(matrix, basis);
    double captured = (basis * image).sum(at::kDouble).item<double>();
    for (int i = 0; i < kMaxIterations; ++i) {
        basis = std::get<0>(at::linalg_qr(image));
        image = at::matmul(matrix, basis);
        const double now = (basis * image).sum(at::kDouble).item<double>();
        if (now - captured <= kSettled * total) break;
        captured = now;
    }
    const auto [values, rotation] = at::linalg_eigh(at::matmul(basis.t(), image).to(at::kDouble));
    const at::Tensor rows = at::matmul(basis, rotation.to(at::kFloat)).flip(1).slice(1, 0, components).t();
    return {values.flip(0).slice(0, 0, components).clamp_min(0).contiguous(), with_fixed_signs(rows).contiguous(),
            total};
}

}  // namespace

EigenBasis leading_components(const at::Tensor& covariance, int64_t components) {
    const int64_t d = covariance.size(0);
    const int64_t k = components == 0 ? d : std::min(components, d);
    if (d <= kSmall || k * 3 >= d) return full_decomposition(covariance, k);
    return orthogonal_iteration(covariance, k);
}

EigenBases leading_components_of_each(const at::Tensor& covariances, int64_t components) {
    const int64_t d = covariances.size(1);
    const int64_t k = components == 0 ? d : std::min(components, d);
    auto [values, columns] = at::linalg_eigh(covariances);
    values = values.flip(1).slice(1, 0, k).clamp_min(0).contiguous();
    const at::Tensor rows = columns.flip(2).slice(2, 0, k).transpose(1, 2);
    const at::Tensor totals = covariances.diagonal(0, 1, 2).sum(1);
    return {values, with_fixed_signs(rows).to(at::kFloat).contiguous(), totals};
}

}  // namespace savepoint
