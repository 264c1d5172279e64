#pragma once

#include <ATen/core/Tensor.h>

#include <algorithm>
#include <cstdint>
#include <vector>

#include "core/analysis/linear_attention.h"

namespace savepoint {

inline constexpr int64_t kPositionBuckets = 10;  // [0,4) [4,8) ... [512,1024) [1024,inf)
inline constexpr int64_t kQuantiles = 101;
inline constexpr int64_t kLeastCalibration = 20;  // distances a bucket needs for quantiles of its own

int64_t position_bucket(int64_t position);
int64_t bucket_begin(int64_t bucket);
int64_t bucket_end(int64_t bucket);
inline int64_t least_samples(int64_t head_dim) { return 2 * head_dim; }

// What AnomalyReference holds. A set is one layer and head: set = layer * heads + head.
struct AnomalyTables {
    FeatureMap map = FeatureMap::elu1;
    int64_t layers = 0, heads = 0, head_dim = 0;
    int64_t fitted_tokens = 0, calibration_tokens = 0;
    std::vector<int64_t> fitted;      // position buckets with moments of their own, ascending
    at::Tensor mean;                  // [fitted, sets, head_dim]
    at::Tensor whitening;             // [fitted, sets, head_dim, head_dim] lower triangular, float32
    std::vector<int64_t> calibrated;  // position buckets with quantiles of their own, ascending
    at::Tensor quantiles;             // [calibrated, sets, kQuantiles] of the distance, non-decreasing
    at::Tensor token_quantiles;       // [calibrated, kQuantiles] of the token score

    int64_t sets() const { return layers * heads; }
};

// The index in `have` of the bucket nearest to `bucket`; of two, the earlier, whose spread is the wider one.
int64_t nearest_bucket(const std::vector<int64_t>& have, int64_t bucket);

// Calls visit(bucket, begin, end) for each stretch of rows [0, tokens) that falls in one position bucket.
template <typename Visit>
void for_each_bucket(int64_t first_position, int64_t tokens, Visit visit) {
    for (int64_t begin = 0; begin < tokens;) {
        const int64_t bucket = position_bucket(first_position + begin);
        const int64_t end = std::min(tokens, bucket_end(bucket) - first_position);
        visit(bucket, begin, end);
        begin = end;
    }
}

// Throws InputError unless read_out is [tokens, layers, heads, head_dim]; gives [tokens, sets, head_dim] float32, CPU.
at::Tensor by_set(const at::Tensor& read_out, int64_t layers, int64_t heads, int64_t head_dim);

// Mahalanobis distance / sqrt(head_dim) of rows [tokens, sets, head_dim] -> [tokens, sets].
at::Tensor distances(const AnomalyTables& tables, const at::Tensor& rows, int64_t first_position);
at::Tensor token_scores(const at::Tensor& distance);  // [tokens, ...] -> [tokens]

}  // namespace savepoint
