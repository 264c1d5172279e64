#include "core/sidecar/sparse_rows.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <algorithm>

#include "core/model/kernels.h"

namespace savepoint {

SparseRows::SparseRows(const at::Tensor& rows) : columns_(rows.size(1)), begins_{0} {
    const at::Tensor r = rows.contiguous();
    const float* value = r.const_data_ptr<float>();
    where_.reserve(static_cast<size_t>(r.numel() / 4));
    values_.reserve(where_.capacity());
    for (int64_t t = 0; t < r.size(0); ++t) {
        for (int64_t i = 0; i < columns_; ++i, ++value) {
            if (*value == 0) continue;
            where_.push_back(static_cast<int32_t>(i));
            values_.push_back(*value);
        }
        begins_.push_back(static_cast<int64_t>(where_.size()));
        if (begins_[static_cast<size_t>(t)] < begins_.back()) used_ = std::max<int64_t>(used_, where_.back() + 1);
    }
}

// A panel of the matrix, packed, stays in a core's second-level cache while all rows pass over it.
at::Tensor SparseRows::times(const at::Tensor& matrix) const {
    const at::Tensor m = matrix.contiguous();
    const int64_t width = m.size(1), panels = (width + panel_columns - 1) / panel_columns;
    at::Tensor out = at::empty({count(), width});
    at::parallel_for(0, panels, 1, [&](int64_t first, int64_t last) {
        std::vector<float> panel(static_cast<size_t>(used_ * panel_columns)), tail;
        for (int64_t p = first; p < last; ++p) {
            const int64_t from = p * panel_columns, columns = std::min(panel_columns, width - from);
            const float* row = m.const_data_ptr<float>() + from;
            for (int64_t i = 0; i < used_; ++i, row += width)
                std::copy(row, row + columns, panel.begin() + static_cast<std::ptrdiff_t>(i * panel_columns));
            const auto multiply = [&](float* to, int64_t stride) {
                best_kernels().sparse_times_panel(panel.data(), begins_.data(), where_.data(), values_.data(), count(),
                                                  to, stride);
            };
            float* const to = out.data_ptr<float>() + from;
            if (columns == panel_columns) {
                multiply(to, width);
                continue;
            }
            tail.resize(static_cast<size_t>(count() * panel_columns));
            multiply(tail.data(), panel_columns);
            for (int64_t t = 0; t < count(); ++t)
                std::copy_n(tail.begin() + static_cast<std::ptrdiff_t>(t * panel_columns), columns, to + t * width);
        }
    });
    return out;
}

}  // namespace savepoint
