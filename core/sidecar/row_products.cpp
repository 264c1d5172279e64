#include "core/sidecar/row_products.h"

#include <ATen/ATen.h>

#include <algorithm>

#include "core/sidecar/sparse_rows.h"

namespace savepoint {

namespace {

constexpr int64_t kFewRows = 32;  // fewer are not worth sorting or converting
constexpr double kSparse = 0.15;  // share of numbers not zero, below which only those are multiplied

at::Tensor ends_of_numbers(const at::Tensor& rows) {
    const int64_t count = rows.size(0), columns = rows.size(1);
    at::Tensor ends = at::empty({count}, at::kLong);
    for (int64_t t = 0; t < count; ++t) {
        const float* row = rows.const_data_ptr<float>() + t * columns;
        int64_t i = columns;
        while (i > 0 && row[i - 1] == 0) --i;
        ends.data_ptr<int64_t>()[t] = i;
    }
    return ends;
}

// Calls visit(rows, longest) for some rows at a time, [n] int64, those of the largest ends first; longest: the largest
// among them.
template <typename Visit>
void by_falling_end(const at::Tensor& ends, int64_t at_once, Visit visit) {
    const auto [falling, order] = ends.sort(/*dim=*/0, /*descending=*/true);
    for (int64_t from = 0; from < ends.size(0); from += at_once) {
        const int64_t longest = falling.const_data_ptr<int64_t>()[from];
        if (longest == 0) return;
        visit(order.slice(0, from, std::min(from + at_once, ends.size(0))), longest);
    }
}

at::Tensor cut(const at::Tensor& shortened, int64_t dim, int64_t end) {
    return shortened.defined() ? shortened.slice(dim, 0, end) : at::Tensor();
}

}  // namespace

at::Tensor product(const at::Tensor& rows, const at::Tensor& matrix, const at::Tensor& shortened) {
    if (!shortened.defined() || rows.size(0) < kFewRows || rows.requires_grad()) return at::matmul(rows, matrix);
    return at::matmul(rows.to(at::kBFloat16), shortened).to(at::kFloat);
}

// Where zeros are few: rows end in zeros, as those of tokens with coarse steps do; the longest first, some rows at a
// time, over the columns that these have.
at::Tensor product_of_rounded(const at::Tensor& rows, const at::Tensor& matrix, const at::Tensor& shortened) {
    constexpr int64_t kAtOnce = 128;
    const at::Tensor r = rows.contiguous();
    if (r.size(0) < kFewRows || r.requires_grad() || !r.is_cpu()) return at::matmul(r, matrix);
    if (static_cast<double>(r.count_nonzero().item<int64_t>()) < kSparse * static_cast<double>(r.numel()))
        return SparseRows(r).times(matrix);
    at::Tensor out = at::zeros({r.size(0), matrix.size(1)});
    by_falling_end(ends_of_numbers(r), kAtOnce, [&](const at::Tensor& which, int64_t longest) {
        const at::Tensor part = r.slice(1, 0, longest).index_select(0, which);
        out.index_copy_(0, which, product(part, matrix.slice(0, 0, longest), cut(shortened, 0, longest)));
    });
    return out;
}

at::Tensor product_up_to(const at::Tensor& ends, const at::Tensor& rows, const at::Tensor& matrix,
                         const at::Tensor& shortened) {
    // Few at a time lose little to the longest among them, but each time the matrix is packed anew.
    const int64_t at_once = std::max<int64_t>(2 * kFewRows, rows.size(0) / 8);
    at::Tensor out = at::zeros({rows.size(0), matrix.size(1)});
    by_falling_end(ends, at_once, [&](const at::Tensor& which, int64_t longest) {
        const at::Tensor part =
            product(rows.index_select(0, which), matrix.slice(1, 0, longest), cut(shortened, 1, longest));
        out.slice(1, 0, longest).index_copy_(0, which, part);
    });
    return out;
}

}  // namespace savepoint
