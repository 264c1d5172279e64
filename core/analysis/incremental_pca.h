#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "core/analysis/projection.h"

namespace savepoint {

// PCA of rows that come in batches, without keeping them (Ross, Lim, Lin, Yang 2008, as scikit-learn's IncrementalPCA):
// the axes so far times their singular values, the centred batch, and one row for the moved mean are decomposed anew.
// Exact while `kept` is at least the rank of the data; else what lies outside the kept axes is lost, batch by batch.
// Mean and total variance are exact always. An axis keeps its sign from batch to batch, so that a picture turns but
// never flips.
class IncrementalPca {
   public:
    explicit IncrementalPca(int64_t kept = 32) : kept_(kept) {}
    // Goes on from a decomposition of `count` rows, whose scale stays as it is; `total` is the variance of those rows
    // (as scaled), summed over columns and rows. `kept` becomes the number of its axes.
    IncrementalPca(const PcaProjection& fitted, int64_t count, double total);

    void add(const at::Tensor& rows);  // [n, d]; throws InputError as fit_pca, and on another width than before
    int64_t count() const { return count_; }
    PcaProjection projection(int64_t components) const;  // throws InputError before two rows were added

   private:
    void decompose(const at::Tensor& stacked);

    int64_t kept_, count_ = 0;
    double total_ = 0;
    at::Tensor mean_, scale_, axes_, singular_;  // float64: [d], [d], [kept, d], [kept]
};

}  // namespace savepoint
