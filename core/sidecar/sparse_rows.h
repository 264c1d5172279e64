#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

namespace savepoint {

// Rows of float32 that are mostly zeros, as rounded coefficients are.
class SparseRows {
   public:
    explicit SparseRows(const at::Tensor& rows);  // [count, columns], on the CPU
    int64_t count() const { return static_cast<int64_t>(begins_.size()) - 1; }

    // Times a matrix [columns, width], in time that goes with how many numbers are not zero: [count, width]. Each row
    // is summed by itself in order of its columns, so that it is the same among any others.
    at::Tensor times(const at::Tensor& matrix) const;

   private:
    int64_t columns_, used_ = 0;   // columns from used_ on hold zeros alone
    std::vector<int64_t> begins_;  // [count + 1]: where a row's numbers begin
    std::vector<int32_t> where_;   // the column of each
    std::vector<float> values_;
};

}  // namespace savepoint
