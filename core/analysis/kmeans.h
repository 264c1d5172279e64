#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "core/analysis/point_table.h"

namespace savepoint {

// k-means: Lloyd's rounds from centres drawn by k-means++ (Arthur & Vassilvitskii 2007: each next centre is a point,
// drawn with a probability proportional to its squared distance from the nearest centre so far); the best of several
// starts. A function of its arguments, bit for bit.
struct KMeansSettings {
    int clusters = 8;
    int starts = 4;
    int rounds = 100;  // at most, of each start; it ends when no point changes its cluster
    uint64_t seed = 1;
};

struct KMeans {
    std::vector<int32_t> label;  // [rows] 0 .. clusters - 1, the largest cluster first
    PointTable centres;          // [clusters, columns], each the mean of its points
    double inertia = 0;          // sum of squared distances of points from their centres
};

// Throws InputError on points as check_points does, and unless 1 <= clusters <= rows; Cancelled when go_on, called once
// a round, says no.
KMeans kmeans(const PointTable& points, const KMeansSettings& settings, const std::function<bool()>& go_on = {});

}  // namespace savepoint
