#include "core/analysis/matrix_components.h"

#include <ATen/ATen.h>

#include <algorithm>

#include "core/model/error.h"

namespace savepoint {

namespace {

// Of centred rows [n, d]: [kMatrixComponents, d], by the Gram matrix of the rows, which are fewer than the columns.
at::Tensor principal_axes(const at::Tensor& centred) {
    const int64_t n = centred.size(0);
    const auto [values, vectors] = at::linalg_eigh(at::mm(centred, centred.t()), "L");
    int64_t kept = std::min<int64_t>(kMatrixComponents, n - 1);
    const double least = 1e-12 * values[n - 1].item<double>();
    while (kept > 0 && values[n - kept].item<double>() <= least) --kept;
    at::Tensor axes = at::zeros({kMatrixComponents, centred.size(1)}, centred.options());
    if (kept > 0)
        axes.slice(0, 0, kept)
            .copy_((at::mm(centred.t(), vectors.slice(1, n - kept, n).flip(1)) /
                    values.slice(0, n - kept, n).flip(0).sqrt())
                       .t());
    return axes;
}

}  // namespace

MatrixComponents fit_components(const at::Tensor& rows) {
    if (rows.dim() != 3 || rows.size(0) < 2)
        throw InputError("components of matrix forms: at least two reference rows are needed");
    MatrixComponents out;
    out.mean = rows.mean(0);
    std::vector<at::Tensor> axes;
    for (int64_t set = 0; set < rows.size(1); ++set)
        axes.push_back(principal_axes((rows.select(1, set) - out.mean[set]).to(at::kDouble)).to(rows.scalar_type()));
    out.axes = at::stack(axes);
    return out;
}

at::Tensor reduced(const MatrixComponents& components, const at::Tensor& rows) {
    const at::Tensor centred = (rows - components.mean).transpose(0, 1);         // [sets, n, d]
    const at::Tensor along = at::bmm(centred, components.axes.transpose(1, 2));  // [sets, n, components]
    const at::Tensor rest = centred.square().sum(2) - along.square().sum(2);     // of orthonormal axes
    return at::cat({along, rest.clamp_min(0).sqrt().unsqueeze(2)}, 2).transpose(0, 1).contiguous();
}

}  // namespace savepoint
