#include "core/analysis/incremental_pca.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <tuple>

#include "core/model/error.h"

namespace savepoint {

IncrementalPca::IncrementalPca(const PcaProjection& fitted, int64_t count, double total)
    : kept_(fitted.axes.size(0)),
      count_(count),
      total_(total),
      mean_(fitted.mean.to(at::kDouble)),
      scale_(fitted.scale.to(at::kDouble)),
      axes_(fitted.axes.to(at::kDouble)),
      singular_((fitted.explained.to(at::kDouble) * total).sqrt()) {}

void IncrementalPca::add(const at::Tensor& rows) {
    if (!rows.defined() || rows.dim() != 2 || rows.size(0) == 0 || rows.size(1) == 0)
        throw InputError("incremental PCA: rows must be a table [n, d] with at least one row");
    if (mean_.defined() && rows.size(1) != mean_.size(0))
        throw InputError("incremental PCA: rows must be [n, " + std::to_string(mean_.size(0)) + "]");
    if (!at::isfinite(rows).all().item<bool>())
        throw InputError("incremental PCA: the rows hold a value that is not finite");
    const at::Tensor batch = rows.to(at::kCPU, at::kDouble);
    if (!mean_.defined()) {
        mean_ = at::zeros({rows.size(1)}, at::kDouble);
        scale_ = at::ones_like(mean_);
        axes_ = at::zeros({0, rows.size(1)}, at::kDouble);
        singular_ = at::zeros({0}, at::kDouble);
    }
    const auto before = static_cast<double>(count_), added = static_cast<double>(batch.size(0));
    const at::Tensor batch_mean = batch.mean(0);
    const at::Tensor centred = (batch - batch_mean).div_(scale_);
    const at::Tensor moved = (mean_ - batch_mean).div_(scale_).mul_(std::sqrt(before * added / (before + added)));
    total_ += centred.square().sum().item<double>() + moved.square().sum().item<double>();
    mean_ = (mean_ * before + batch_mean * added) / (before + added);
    count_ += batch.size(0);
    decompose(at::cat({axes_ * singular_.unsqueeze(1), centred, moved.unsqueeze(0)}));
}

void IncrementalPca::decompose(const at::Tensor& stacked) {
    auto [left, values, axes] = at::linalg_svd(stacked, false);
    const int64_t keep = std::min(kept_, values.size(0));
    axes = axes.slice(0, 0, keep).clone();
    const int64_t known = std::min(keep, axes_.size(0));
    if (known > 0) {
        const at::Tensor along = (axes.slice(0, 0, known) * axes_.slice(0, 0, known)).sum(1, true);
        axes.slice(0, 0, known).mul_(at::where(along < 0, -1.0, 1.0));
    }
    if (known < keep) {
        at::Tensor fresh = axes.slice(0, known, keep);
        fresh.mul_(at::where(fresh.gather(1, fresh.abs().argmax(1, true)) < 0, -1.0, 1.0));
    }
    axes_ = axes;
    singular_ = values.slice(0, 0, keep).clone();
}

PcaProjection IncrementalPca::projection(int64_t components) const {
    if (count_ < 2) throw InputError("incremental PCA: at least two rows are needed");
    const int64_t d = mean_.size(0), kept = std::min(components, axes_.size(0));
    PcaProjection pca{mean_.to(at::kFloat), scale_.to(at::kFloat), at::zeros({components, d}, at::kFloat),
                      at::zeros({components}, at::kFloat)};
    const at::Tensor real = singular_ > 1e-6 * singular_.max();
    const int64_t rank = total_ > 0 ? std::min(kept, real.sum().item<int64_t>()) : 0;
    pca.axes.slice(0, 0, rank).copy_(axes_.slice(0, 0, rank));
    if (rank > 0) pca.explained.slice(0, 0, rank).copy_(singular_.slice(0, 0, rank).square() / total_);
    return pca;
}

}  // namespace savepoint
