#pragma once

#include <cstdint>
#include <vector>

#include "core/analysis/fuzzy_graph.h"

namespace savepoint {

// Laplacian eigenmap of a connected graph: the eigenvectors of D^-1/2 W D^-1/2 below its first (which is known),
// strongest first; [rows, count], columns of unit length. Found by subspace iteration with a Chebyshev filter
// (Zhou, Saad, Tiago, Chelikowsky 2006) until |A x - lambda x| < 1e-4 for each or 20 rounds are over: it is a place
// to start from, not a spectrum. The same bit for bit whatever the number of threads. Needs rows > count + 1, count
// <= 4.
std::vector<float> spectral_embedding(const SparseGraph& graph, int64_t count, uint64_t seed);

}  // namespace savepoint
