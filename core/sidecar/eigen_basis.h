#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace savepoint {

// The leading part of the eigendecomposition of a covariance matrix.
struct EigenBasis {
    at::Tensor values;   // [k] float64, descending, not below 0
    at::Tensor vectors;  // [k, d] float32, orthonormal rows; the entry of largest magnitude of each is positive
    double total = 0;    // trace: the variance of all d
};

// components 0: all. Small matrices, and large shares of a matrix, go through a full decomposition; the others
// through orthogonal iteration with Rayleigh-Ritz (Golub & Van Loan, Matrix Computations, 8.2.4), which costs
// a fraction of it. Deterministic: the start is seeded. covariance: [d, d] float64, symmetric.
EigenBasis leading_components(const at::Tensor& covariance, int64_t components);

// The same of a stack [n, d, d] in full: values [n, components], vectors [n, components, d], totals [n].
struct EigenBases {
    at::Tensor values, vectors, totals;
};
EigenBases leading_components_of_each(const at::Tensor& covariances, int64_t components);

}  // namespace savepoint
