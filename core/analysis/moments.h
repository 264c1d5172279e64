#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace savepoint {

// The moments of many sample sets side by side (one a layer and head), streamed in float64: enough for the exact
// Ledoit-Wolf shrinkage of each without keeping a sample. Samples are counted from `shift`, a first guess at
// their mean, so that nothing cancels.
struct Moments {
    at::Tensor shift;   // [sets, d] float32
    at::Tensor sum;     // [sets, d]     sum of x
    at::Tensor outer;   // [sets, d, d]  sum of x x^T, but for what is still in `recent`
    at::Tensor cubic;   // [sets, d]     sum of |x|^2 x
    at::Tensor fourth;  // [sets]        sum of |x|^4
    int64_t count = 0;  // samples in each set
    // The last few samples' part of `outer`, in the samples' own precision: adding a table of sets x d x d to one in
    // float64 costs as much as multiplying a hundred samples, so that it is done seldom.
    at::Tensor recent;
    int64_t recent_count = 0;

    void add(const at::Tensor& samples);  // [sets, n, d], always float32 or always float64; n > 0
    at::Tensor outer_sum() const { return outer + recent; }
};

// mean [sets, d], covariance [sets, d, d], shrinkage [sets], float64 (Ledoit & Wolf 2004, lemma 3.2 to 3.4, with
// the sample covariance divided by n).
struct ShrunkSets {
    at::Tensor mean, covariance, shrinkage;
};
// `independent`: how many of the samples count as independent draws (0: all). Samples that come in runs which vary
// little inside, as read-outs of one text do, tell less about the covariance than their number says: the noise of
// its estimate, and with it the shrinkage, is that of the number of runs.
ShrunkSets ledoit_wolf(const Moments& moments, int64_t independent = 0);

// Lower triangular W [sets, d, d] (float64) with W covariance W^T = I: |W (x - mean)| is the Mahalanobis
// distance. A covariance that is singular gets the smallest multiple of its mean variance that lets it be factored.
at::Tensor whitening(const at::Tensor& covariance);

}  // namespace savepoint
