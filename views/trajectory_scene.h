#pragma once

#include <string>
#include <vector>

#include "core/workbench/snapshot.h"
#include "views/point_cloud.h"

namespace savepoint::views {

enum class PointColour { thought, position, anomaly, log_probability };

// What the trajectory panel hands to the GPU. No drawing here.

// The theme's colour maps, lifted where they are too dark for a small disc on a dark ground; t in [0, 1].
ImU32 bright_sequential(float t);
ImU32 bright_log_probability(float nats);
ImU32 point_colour(const TrajectoryPoint& point, PointColour by, int64_t last_position);
std::vector<CloudPoint> cloud_points(const TrajectoryView& view, PointColour by);

// A line from each token to the next of its thought, and from a thought's first token back to the token that it
// branched from, each end in its token's colour.
std::vector<CloudLine> path_lines(const TrajectoryView& view, const GraphView& graph, PointColour by);

struct Bounds {
    Vec3 low{}, high{};
};
Bounds bounds_of(const TrajectoryView& view);
// Without the outermost points when they would squeeze the others into a corner: `outside` counts those left out.
Bounds central_bounds(const TrajectoryView& view, int& outside);
// Looks at the bounds with a margin; keeps the camera's angles and kind.
CloudCamera fit_camera(CloudCamera camera, const Bounds& bounds, float aspect);

struct AxisTick {
    float value;
    std::string text;
};
// Round values at about `count` places between low and high.
std::vector<AxisTick> ticks(float low, float high, int count);

// The 2D view's grid, or the 3D view's floor and its three axes.
std::vector<CloudLine> frame_lines(const CloudCamera& camera, const Bounds& bounds, float aspect);
// The corner that the 3D axes start from, and their ends.
struct AxisEnds {
    Vec3 corner{}, ends[3];
};
AxisEnds axis_ends(const Bounds& bounds);

}  // namespace savepoint::views
