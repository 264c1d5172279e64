#include "tests/views/sample_projection.h"

#include <cmath>

namespace savepoint::test {
namespace {

// Between -1 and 1, the same each time.
float wobble(int64_t i, int salt) {
    const double value = std::sin(static_cast<double>(i) * 12.9898 + salt * 78.233) * 43758.5453;
    return static_cast<float>(2 * (value - std::floor(value)) - 1);
}

std::vector<ProjectionComponent> components() {
    std::vector<ProjectionComponent> all;
    for (int k = 0; k < 20; ++k) {
        ProjectionComponent one;
        one.explained = 0.3f * std::pow(0.78f, static_cast<float>(k));
        one.share = {0.05f, 0.1f, 0.15f, 0.3f, 0.2f, 0.1f, 0.06f, 0.04f};
        for (int i = 0; i < 6; ++i)
            one.top.emplace_back(
                "blocks " + std::to_string(4 * i) + "-" + std::to_string(4 * i + 3) + " #" + std::to_string(7 * i + k),
                (i % 2 ? -0.1f : 0.1f) * static_cast<float>(6 - i));
        all.push_back(std::move(one));
    }
    return all;
}

}  // namespace

std::shared_ptr<const ProjectionView> sample_projection(const TrajectoryView& trajectory, int maps) {
    auto points = std::make_shared<ProjectionPoints>();
    for (const TrajectoryPoint& token : trajectory.points) {
        ProjectionPoint point;
        point.thought = token.thought, point.position = token.position, point.id = token.id, point.text = token.text;
        point.log_probability = token.log_probability, point.anomaly = token.anomaly;
        point.entropy = 1.5f + wobble(token.position, 3), point.hidden_fvu = 0.05f;
        points->points.push_back(std::move(point));
    }
    points->asked = static_cast<int64_t>(points->points.size()) + 4;
    points->left_out = "the first tokens of each path, which are attention sinks far from all others";
    auto view = std::make_shared<ProjectionView>();
    view->state = ProjectionState::done;
    view->progress = 1, view->seconds = 2.4;
    view->settings.source = maps > 1 ? ProjectionSource::hidden : ProjectionSource::latents;
    if (maps > 1) view->settings.arrangement = ProjectionArrangement::separate;
    view->settings.clusters = ClusterMethod::hdbscan;
    for (int m = 0; m < maps; ++m) {
        auto places = std::make_shared<std::vector<std::array<float, 3>>>();
        auto clusters = std::make_shared<std::vector<int32_t>>();
        for (size_t i = 0; i < points->points.size(); ++i) {
            const bool even = points->points[i].position % 2 == 0;
            const auto at = static_cast<int64_t>(i);
            places->push_back({(even ? -4.0f : 4.0f) + 1.5f * wobble(at, 1 + m), 2.5f * wobble(at, 2 + m), 0});
            clusters->push_back(even ? 0 : 1);
        }
        (*places)[5] = {400, 300, 0};
        (*clusters)[5] = -1;
        ProjectionMap map;
        map.label = maps > 1 ? "layer " + std::to_string(m) : "all groups";
        map.places = places, map.clusters = clusters, map.cluster_count = 2;
        map.progress = 1, map.stage = "done", map.columns = maps > 1 ? 576 : 1024;
        map.components = components();
        for (int g = 0; g < 8; ++g)
            map.parts.push_back("blocks " + std::to_string(4 * g) + "-" + std::to_string(4 * g + 3));
        map.trustworthiness = 0.964 - 0.01 * m, map.continuity = 0.951;
        map.quality_neighbors = 15, map.quality_rows = static_cast<int64_t>(points->points.size());
        view->maps.push_back(std::move(map));
    }
    view->points = std::move(points);
    return view;
}

std::shared_ptr<const ProjectionView> large_projection(int64_t count, int dimensions) {
    auto points = std::make_shared<ProjectionPoints>();
    auto places = std::make_shared<std::vector<std::array<float, 3>>>();
    points->asked = count;
    points->label_names = {"arm"};
    for (int64_t i = 0; i < count; ++i) {
        ProjectionPoint point;
        point.position = i;
        const auto arm = static_cast<int>(i % 10);
        const float far = std::sqrt(static_cast<float>(i) / static_cast<float>(count)) * 10,
                    turn = 0.5f * far + 0.628f * static_cast<float>(arm);
        places->push_back({far * std::cos(turn) + 0.5f * wobble(i, 1), far * std::sin(turn) + 0.5f * wobble(i, 2),
                           dimensions == 3 ? 3 * wobble(i, 3) : 0});
        points->labels.push_back({"arm " + std::to_string(arm)});
        points->points.push_back(std::move(point));
    }
    auto view = std::make_shared<ProjectionView>();
    view->state = ProjectionState::done;
    view->progress = 1, view->seconds = 41;
    view->settings.source = ProjectionSource::file, view->settings.file = "/data/spiral.npy";
    view->settings.umap.components = dimensions;
    ProjectionMap map;
    map.label = "points of the file";
    map.places = places, map.dimensions = dimensions;
    map.progress = 1, map.stage = "done", map.columns = 256;
    map.trustworthiness = 0.93, map.continuity = 0.94, map.quality_neighbors = 15, map.quality_rows = 500;
    view->maps = {std::move(map)};
    view->points = std::move(points);
    return view;
}

}  // namespace savepoint::test
