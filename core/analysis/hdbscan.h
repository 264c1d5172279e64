#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "core/analysis/point_table.h"

namespace savepoint {

// HDBSCAN* (Campello, Moulavi, Sander 2013; as scikit-learn's HDBSCAN with excess of mass and no single cluster):
// single linkage on the mutual reachability max(core(a), core(b), |a - b|), core being the distance to the
// min_samples-th nearest point, the point itself counted; of the tree of clusters with at least min_cluster_size
// points, the ones that together are the most stable. Euclidean. Time rows^2 x columns, memory rows.
struct HdbscanSettings {
    int min_cluster_size = 10;
    int min_samples = 0;  // 0: as min_cluster_size
};

struct Hdbscan {
    std::vector<int32_t> label;  // [rows] -1: noise; else 0 .. clusters - 1, the largest cluster first
    int32_t clusters = 0;
};

// Throws InputError on points as check_points does, and on a min_cluster_size below 2 or min_samples above rows;
// Cancelled when go_on says no.
Hdbscan hdbscan(const PointTable& points, const HdbscanSettings& settings, const std::function<bool()>& go_on = {});

}  // namespace savepoint
