#pragma once

#include <ATen/core/Tensor.h>

namespace savepoint {

// PCA fitted on rows [n, d]: exact, by eigendecomposition of the smaller Gram matrix. Signs are fixed (the
// entry of largest magnitude of each axis is positive), so the same data gives the same picture.
struct PcaProjection {
    at::Tensor mean;       // [d]
    at::Tensor scale;      // [d] divided out first (1 where not standardised)
    at::Tensor axes;       // [components, d]
    at::Tensor explained;  // [components] fraction of variance
    at::Tensor project(const at::Tensor& rows) const;  // [n, components]
};
PcaProjection fit_pca(const at::Tensor& rows, int64_t components, const at::Tensor& scale = {});

// Distance of z [n, d] from a cloud with the given mean and std: sqrt(mean over d of ((z - mean) / std)^2);
// 1 is typical.
at::Tensor standardized_distance(const at::Tensor& z, const at::Tensor& mean, const at::Tensor& std);

}  // namespace savepoint
