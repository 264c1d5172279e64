#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace savepoint {

// PCA fitted on rows [n, d]: exact, by eigendecomposition of the smaller Gram matrix. Signs are fixed (the
// entry of largest magnitude of each axis is positive), so the same data gives the same picture. All float32.
struct PcaProjection {
    at::Tensor mean;       // [d]
    at::Tensor scale;      // [d] divided out first (1 where not standardised, or where nothing varies)
    at::Tensor axes;       // [components, d] orthonormal; rows of zeros beyond the rank of the data
    at::Tensor explained;  // [components] fraction of variance
    at::Tensor project(const at::Tensor& rows) const;  // [n, components]
};
// Throws InputError on shapes that disagree and on rows that are not finite.
PcaProjection fit_pca(const at::Tensor& rows, int64_t components, const at::Tensor& scale = {});

// The same of large tables: a randomised range finder with `rounds` power iterations (Halko, Martinsson, Tropp 2011,
// algorithms 4.4 and 5.1), n d (components + 10) operations a round instead of n d min(n, d). Variances are short of
// the exact ones by less than their tail decays in 2 rounds + 1 powers. The same data and seed give the same bits for
// the same number of threads.
struct RandomizedPca {
    int64_t oversamples = 10, rounds = 4;
    uint64_t seed = 1;
};
PcaProjection fit_pca_randomized(const at::Tensor& rows, int64_t components, const RandomizedPca& how = {});

// Distance of z [n, d] from a cloud with the given mean and std: sqrt(mean over d of ((z - mean) / std)^2);
// 1 is typical. A component that does not vary in the cloud counts with a millionth of the mean std.
at::Tensor standardized_distance(const at::Tensor& z, const at::Tensor& mean, const at::Tensor& std);

}  // namespace savepoint
