#pragma once

// Plain structs only: views include this file.

#include <cstdint>
#include <string>
#include <vector>

#include "core/analysis/umap_settings.h"

namespace savepoint {

enum class ProjectionMethod { pca, umap };
enum class ProjectionSource { latents, hidden, file };  // z; blocks.L.hook_resid_post; a table from a file
enum class ProjectionScope { path, all, chosen };       // of the current thought; of every thought; of those named
enum class ProjectionScaling {
    none,
    parts,    // the deviations of each layer (group) together have the variance 1, so that no layer outweighs another
    columns,  // each number has mean 0 and variance 1
    robust    // each number less its median, by its interquartile range / 1.349: a few outliers do not set the scale
};
// How layers (groups) become points.
enum class ProjectionArrangement {
    joined,    // one map; a token is one point, its layers side by side in one row
    separate,  // a map for each layer (small multiples)
    stacked    // one map; a token is a point for each layer. Of hidden states, which share one space
};
enum class ClusterMethod { none, kmeans, hdbscan };

struct ProjectionSettings {
    ProjectionMethod method = ProjectionMethod::umap;
    ProjectionSource source = ProjectionSource::latents;
    ProjectionScope scope = ProjectionScope::path;
    std::vector<int64_t> thoughts;  // ProjectionScope::chosen: the tokens of their paths
    std::vector<int64_t> parts;     // layer groups of latents, blocks of hidden states; empty: all
    ProjectionArrangement arrangement = ProjectionArrangement::joined;
    std::string file;  // ProjectionSource::file: .csv or .npy (core/analysis/points_file.h)
    // The first tokens of a path are attention sinks with massive activations; they are left out unless asked for.
    bool first_tokens = false;
    ProjectionScaling scaling = ProjectionScaling::parts;
    UmapSettings umap;   // its components: of PCA too (which always has three to draw)
    bool follow = true;  // tokens that come later are placed in the map
    ClusterMethod clusters = ClusterMethod::none;
    int cluster_count = 8;      // k-means, on the points as they are projected from
    int cluster_smallest = 10;  // HDBSCAN, on the map
    int quality_neighbors = 15;

    bool operator==(const ProjectionSettings&) const = default;
};

}  // namespace savepoint
