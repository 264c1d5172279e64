#pragma once

#include <ATen/core/Tensor.h>

namespace savepoint {

// Products of a run's rows [tokens, n] with a codec's matrices [n, m]. `shortened` is the matrix in bfloat16; where it
// is defined and rows are many, products are taken so.
at::Tensor product(const at::Tensor& rows, const at::Tensor& matrix, const at::Tensor& shortened);

// The same for rows of which many numbers are zero, as rounded coefficients are: in time that goes with how many are
// not.
at::Tensor product_of_rounded(const at::Tensor& rows, const at::Tensor& matrix, const at::Tensor& shortened);

// Of each row's product the first `ends` columns ([tokens] int64); what lies behind them is worked out or 0.
at::Tensor product_up_to(const at::Tensor& ends, const at::Tensor& rows, const at::Tensor& matrix,
                         const at::Tensor& shortened);

}  // namespace savepoint
