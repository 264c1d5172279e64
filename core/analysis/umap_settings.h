#pragma once

// Plain structs only: views include this file.

#include <cstdint>

namespace savepoint {

enum class PointMetric { euclidean, cosine, correlation };
enum class UmapStart { spectral, pca };
// exact: every pair is looked at. approximate: by a graph of small worlds (HNSW). automatic: approximate from the
// number of points on from which it is the faster one.
enum class NeighbourSearch { automatic, exact, approximate };

// Names and defaults are those of umap-learn 0.5.
struct UmapSettings {
    int neighbors = 15;     // n_neighbors, the point itself among them: 2 and up
    float min_dist = 0.1f;  // how closely points may be packed: 0 .. spread
    float spread = 1.0f;    // the scale of the map
    PointMetric metric = PointMetric::euclidean;
    NeighbourSearch search = NeighbourSearch::automatic;
    int components = 2;  // 2 or 3
    int epochs = 0;      // n_epochs; 0: 500 up to 10,000 points, 200 above
    UmapStart start = UmapStart::spectral;
    int negatives = 5;  // negative_sample_rate: 1 .. 32
    float learning_rate = 1.0f;
    float repulsion = 1.0f;
    uint64_t seed = 1;
    // true: the map is the same bit for bit whatever the number of threads. false: threads move points in place and
    // see each other's latest moves; somewhat faster, and no two runs alike.
    bool reproducible = true;

    bool operator==(const UmapSettings&) const = default;
};

}  // namespace savepoint
