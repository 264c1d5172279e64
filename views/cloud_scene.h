#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "core/workbench/snapshot.h"
#include "views/point_cloud.h"

namespace savepoint::views {

// What a cloud of places is drawn from, without any drawing: colours, lines between tokens, the view's frame.

// The theme's colour maps, lifted where they are too dark for a small disc on a dark ground; t in [0, 1].
ImU32 bright_sequential(float t);
ImU32 bright_log_probability(float nats);

// So large that single points are seen among few, and the shape of the cloud among many. Pixels.
float disc_radius(size_t points);

// Which token a point is.
struct PathToken {
    ThoughtId thought = 0;  // 0: none
    int64_t position = 0;
    int32_t part = -1;  // its layer, where a token is several points
};
struct PathLink {
    uint32_t from = 0, to = 0;
    bool branch = false;  // to a thought's first token, from the one that it was branched from
};
// From each token to the next of its thought, and from the token before a thought to its first one: of the same part.
std::vector<PathLink> token_links(std::span<const PathToken> tokens, const GraphView& graph);
// From each token's part to its next part.
std::vector<PathLink> part_links(std::span<const PathToken> tokens);
// Each end in its point's colour; `heads`: with arrowheads at the later end. Paler the more there are.
std::vector<CloudLine> link_lines(std::span<const PathLink> links, std::span<const Vec3> places,
                                  std::span<const CloudPoint> points, bool heads);

struct Bounds {
    Vec3 low{}, high{};
};
Bounds bounds_of(std::span<const Vec3> places);
// Without the outermost points when they would squeeze the others into a corner: `outside` counts those left out.
Bounds central_bounds(std::span<const Vec3> places, int& outside);
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
