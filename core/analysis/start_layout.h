#pragma once

#include <cstdint>
#include <vector>

#include "core/analysis/fuzzy_graph.h"
#include "core/analysis/knn.h"

namespace savepoint {

// Where the points of a map start: [rows, components], each coordinate scaled to 0 .. 10, with noise of 1e-4.
// spectral: the Laplacian eigenmap of the graph. A graph in several parts is laid out part by part (as umap-learn
//   does): the parts' centres by PCA, each part's own eigenmap around its centre; at most 10 points: at random.
// pca: on the principal axes of (at most 1,024 evenly spaced rows of) the data.
// A function of its arguments, bit for bit, whatever the number of threads.
std::vector<float> start_layout(const PointSearch& points, const SparseGraph& graph, UmapStart start, int components,
                                uint64_t seed);

}  // namespace savepoint
