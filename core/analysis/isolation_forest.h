#pragma once

#include <cstdint>
#include <vector>

#include "core/analysis/point_table.h"

namespace savepoint {

// Isolation forest (Liu, Ting, Zhou 2008, algorithms 1 to 3), as scikit-learn grows it: each tree sees `tree_samples`
// rows without replacement, splits a column that still varies at a uniform threshold, and stops at depth
// ceil(log2(tree_samples)).
struct IsolationTree {
    // Parallel arrays, the root first. A leaf has left = -1. Rows with value <= threshold go left.
    std::vector<int32_t> column, left, right;
    std::vector<double> threshold;
    std::vector<int32_t> rows;  // of the sample that reached the node
};

struct IsolationForest {
    std::vector<IsolationTree> trees;
    int64_t tree_samples = 0;

    // 2^(-mean path length / c(tree_samples)) in (0, 1]: the larger, the sooner the row is alone.
    double score(const float* row) const;
};

// c(n), the mean path of an unsuccessful search in a binary search tree of n rows: 2 (ln(n - 1) + gamma) - 2 (n - 1)/n.
double mean_path(int64_t n);

IsolationForest grow_isolation_forest(const PointTable& rows, int64_t trees, int64_t tree_samples, uint64_t seed);

}  // namespace savepoint
