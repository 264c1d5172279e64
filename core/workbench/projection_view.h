#pragma once

// Plain structs only: views include this file. Parts are shared between snapshots.

#include <array>
#include <cmath>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "core/workbench/projection_settings.h"

namespace savepoint {

struct ProjectionPoint {
    int64_t thought = 0;    // that owns the token; 0: a row of a file
    int64_t position = -1;  // in its path; of a file: the row
    int32_t id = 0;
    int32_t part = -1;  // ProjectionArrangement::stacked: its layer
    float log_probability = NAN, entropy = NAN, anomaly = NAN, hidden_fvu = NAN;
    std::string text;  // of the token; of a file: its labels
};

// What every map shows, one entry a point.
struct ProjectionPoints {
    std::vector<ProjectionPoint> points;
    int64_t asked = 0;                     // so many points were asked for; `left_out` says why some are missing
    std::string left_out;                  // empty: none. "the first 4 tokens of each path"
    int64_t followed = 0;                  // the last so many came after the map was fitted and were placed in it
    std::vector<std::string> label_names;  // of a file
    std::vector<std::vector<std::string>> labels;
};

struct ProjectionComponent {
    float explained = 0;                             // fraction of the variance
    std::vector<float> share;                        // [parts] of the squared loadings; sums to 1
    std::vector<std::pair<std::string, float>> top;  // the largest loadings: "blocks 4-7 #12", weight
};

struct ProjectionMap {
    std::string label;                                                // "blocks 4-7", "all groups"
    std::shared_ptr<const std::vector<std::array<float, 3>>> places;  // [points]; null: not laid out yet
    int dimensions = 2;
    double progress = 0;
    std::string stage;
    int64_t columns = 0;
    // PCA of the same points, for UMAP too: what variance there is to be shown
    std::vector<ProjectionComponent> components;  // descending; at most 32
    std::vector<std::string> parts;
    double neighbour_recall = NAN;  // of UMAP's approximate neighbours, as measured; NaN: they are exact
    bool randomized = false;        // the components are those of a randomised PCA
    // NaN: not measured yet, or too few points
    double trustworthiness = NAN, continuity = NAN;
    int quality_neighbors = 0;
    int64_t quality_rows = 0;                              // measured on so many points
    std::shared_ptr<const std::vector<int32_t>> clusters;  // [points] -1: noise, or came later; null: none asked for
    int32_t cluster_count = 0;
};

enum class ProjectionState { running, done, cancelled, failed };

struct ProjectionView {
    ProjectionState state = ProjectionState::running;
    double progress = 0, seconds = 0;
    std::string stage, error;
    ProjectionSettings settings;
    std::shared_ptr<const ProjectionPoints> points;  // never null; empty while they are gathered
    std::vector<ProjectionMap> maps;
};

}  // namespace savepoint
