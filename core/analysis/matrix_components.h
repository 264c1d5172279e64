#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace savepoint {

inline constexpr int64_t kMatrixComponents = 16;

// How matrix forms of the state (state_form.h: is_matrix) become features: coordinates on the first kMatrixComponents
// principal axes of reference rows, and the distance from their span; for every layer and KV head (set) by itself.
struct MatrixComponents {
    at::Tensor mean;  // [sets, features x head_dim]
    at::Tensor axes;  // [sets, kMatrixComponents, features x head_dim] orthonormal; zero where there are no more
    int64_t width() const { return kMatrixComponents + 1; }
};

// rows [n, sets, features x head_dim]; the axes come in the rows' own precision. Throws InputError unless n >= 2.
MatrixComponents fit_components(const at::Tensor& rows);
// [n, sets, features x head_dim] -> [n, sets, kMatrixComponents + 1]
at::Tensor reduced(const MatrixComponents& components, const at::Tensor& rows);

}  // namespace savepoint
