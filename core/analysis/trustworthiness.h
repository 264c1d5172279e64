#pragma once

#include <cstdint>
#include <functional>

#include "core/analysis/point_table.h"
#include "core/analysis/umap_settings.h"

namespace savepoint {

// How far a projection of n points can be believed (Venna & Kaski 2001; as scikit-learn's `trustworthiness`):
//   trustworthiness = 1 - 2 / (n k (2n - 3k - 1)) sum_i sum_{j in U_i} (r_ij - k)
//     U_i: the k nearest of i in the projection that are not among its k nearest in the data;
//     r_ij: rank of j among the neighbours of i in the data, the nearest having rank 1.
//   continuity: the same with data and projection exchanged.
// 1: every neighbour shown is one (trustworthiness), every neighbour is shown (continuity).
// Distances in the projection are Euclidean. Equally far points share the lowest of their ranks.
struct ProjectionQuality {
    double trustworthiness = 0, continuity = 0;
    int neighbors = 0;       // k
    int64_t rows = 0;        // n
    int64_t rows_asked = 0;  // i ran over so many, evenly spaced; ranks are always among all n
};

struct QualityOptions {
    int neighbors = 15;
    PointMetric metric = PointMetric::euclidean;  // of the data
    int64_t most_rows = 0;                        // 0: all; costs rows_asked x n x columns
    // Called between parts of the work with 0 .. 1, on the caller's thread; false stops it.
    std::function<bool(double)> go_on;
};

// Throws InputError on tables of different length or with values that are not finite, and unless 1 <= k < n / 2;
// Cancelled when stopped. Uses threads().
ProjectionQuality projection_quality(const PointTable& data, const PointTable& projection,
                                     const QualityOptions& options = {});

}  // namespace savepoint
