#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "core/analysis/knn.h"

namespace savepoint {

// UMAP's view of the data as a graph (McInnes, Healy, Melville 2018, sections 3.1 and 4.1; numbers as in
// umap-learn 0.5).

// Of one point: membership(d) = 1 where d <= rho, else exp(-(d - rho) / sigma).
struct SmoothDistance {
    float rho = 0;    // distance to the nearest other point that is not at the same place; 0 without `connected`
    float sigma = 1;  // so that the memberships sum to log2(target), found by bisection, and no less than a
                      // thousandth of the mean distance
};
// distances [rows, k] as in Neighbours. target: the number of neighbours meant (n_neighbors).
// connected: every point is surely joined to its nearest neighbour (local_connectivity 1).
std::vector<SmoothDistance> smooth_distances(const Neighbours& neighbours, double target, bool connected);
// [rows, k], 0 .. 1
std::vector<float> memberships(const Neighbours& neighbours, const std::vector<SmoothDistance>& smooth);

// Sparse, row by row; columns ascend within a row.
struct SparseGraph {
    std::vector<int64_t> row_begin;  // [rows + 1]
    std::vector<int32_t> column;     // [edges]
    std::vector<float> weight;       // [edges]
    int64_t rows() const { return static_cast<int64_t>(row_begin.size()) - 1; }
};

// The fuzzy union of the directed memberships w: w_ij + w_ji - w_ij w_ji, symmetric, each edge in both rows.
SparseGraph fuzzy_union(const Neighbours& neighbours, const std::vector<float>& memberships);
// Number of the connected component of each row, in order of first appearance.
std::vector<int32_t> connected_components(const SparseGraph& graph);

// a, b of the curve 1 / (1 + a d^(2b)) that fits, by least squares at 300 distances 0 .. 3 spread,
// 1 for d < min_dist and exp(-(d - min_dist) / spread) beyond.
struct CurveFit {
    double a, b;
};
CurveFit fit_curve(double min_dist, double spread);

}  // namespace savepoint
