#pragma once

#include <ATen/core/Tensor.h>

#include <algorithm>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "core/analysis/anomaly_choice.h"
#include "core/analysis/kept_rows.h"
#include "core/analysis/matrix_components.h"
#include "core/analysis/phi.h"

namespace savepoint {

inline constexpr int64_t kPositionBuckets = 10;  // [0,4) [4,8) ... [512,1024) [1024,inf)
inline constexpr int64_t kQuantiles = 101;
inline constexpr int64_t kLeastCalibration = 20;  // distances a bucket needs for quantiles of its own

int64_t position_bucket(int64_t position);
int64_t bucket_begin(int64_t bucket);
int64_t bucket_end(int64_t bucket);
inline int64_t least_samples(DetectorKind detector, int64_t width) {
    return detector == DetectorKind::mahalanobis ? 2 * width : kLeastRows;
}

// What AnomalyReference holds. A set is one layer and unit: set = layer * units + unit.
struct AnomalyTables {
    AnomalyChoice choice;
    std::string name;  // to_string(choice)
    std::shared_ptr<const Phi> phi;
    std::shared_ptr<const MatrixComponents> components;  // of matrix forms
    int64_t layers = 0, units = 0, width = 0, head_dim = 0;
    int64_t fitted_tokens = 0, calibration_tokens = 0;
    std::vector<int64_t> fitted;           // position buckets with samples enough of their own, ascending
    at::Tensor mean;                       // Mahalanobis: [fitted, sets, width]
    at::Tensor whitening;                  // [fitted, sets, width, width] lower triangular, float32
    std::shared_ptr<const KeptRows> kept;  // other detectors
    std::vector<int64_t> calibrated;       // position buckets with quantiles of their own, ascending
    at::Tensor scale;                      // other detectors: [calibrated, sets] the median score, > 0
    at::Tensor quantiles;                  // [calibrated, sets, kQuantiles] of the distance, non-decreasing
    at::Tensor token_quantiles;            // [calibrated, kQuantiles] of the token score

    int64_t sets() const { return layers * units; }
};

// The index in `have` of the bucket nearest to `bucket`; of two, the earlier, whose spread is the wider one.
int64_t nearest_bucket(const std::vector<int64_t>& have, int64_t bucket);

std::vector<int64_t> positions_from(int64_t first, int64_t count);

// Calls visit(bucket, begin, end) for each stretch of rows whose positions (ascending) fall in one position bucket.
template <typename Visit>
void for_each_bucket(const std::vector<int64_t>& positions, Visit visit) {
    const auto count = static_cast<int64_t>(positions.size());
    for (int64_t begin = 0; begin < count;) {
        const int64_t bucket = position_bucket(positions[static_cast<size_t>(begin)]);
        int64_t end = begin + 1;
        while (end < count && positions[static_cast<size_t>(end)] < bucket_end(bucket)) ++end;
        visit(bucket, begin, end);
        begin = end;
    }
}

// Throws InputError unless features are [tokens, layers, units, width]; gives [tokens, sets, width] float32, CPU.
at::Tensor by_set(const at::Tensor& features, const AnomalyTables& tables);

// The detector's scores of rows [tokens, sets, width] -> [tokens, sets], before they are divided by the scale.
at::Tensor raw_distances(const AnomalyTables& tables, const at::Tensor& rows, const std::vector<int64_t>& positions);
at::Tensor token_scores(const at::Tensor& distance);  // [tokens, ...] -> [tokens]

}  // namespace savepoint
