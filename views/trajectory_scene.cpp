#include "views/trajectory_scene.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <map>

#include "views/palette.h"

namespace savepoint::views {
namespace {

using Index = std::map<std::pair<ThoughtId, int64_t>, size_t>;

int64_t last_position(const TrajectoryView& view) {
    int64_t last = 1;
    for (const auto& point : view.points) last = std::max(last, point.position);
    return last;
}

ThoughtId parent_of(const GraphView& graph, ThoughtId id) {
    for (const auto& thought : graph.thoughts)
        if (thought.id == id) return thought.parent;
    return 0;
}

// The point that a thought's first token follows: its owner may be any ancestor.
const size_t* find_before(const Index& index, const GraphView& graph, const TrajectoryPoint& point) {
    ThoughtId owner = parent_of(graph, point.thought);
    for (size_t steps = 0; owner != 0 && steps <= graph.thoughts.size(); ++steps, owner = parent_of(graph, owner)) {
        const auto found = index.find({owner, point.position - 1});
        if (found != index.end()) return &found->second;
    }
    return nullptr;
}

// strength: of lines among so many points that they would hide them, less than 1.
CloudLine line_between(const TrajectoryPoint& a, const TrajectoryPoint& b, PointColour by, int64_t last, bool branch,
                       float strength) {
    const float alpha = (branch ? 0.35f : 0.6f) * strength;
    return {a.at, b.at, with_alpha(point_colour(a, by, last), alpha), with_alpha(point_colour(b, by, last), alpha),
            branch || strength < 1 ? 1.2f : 1.8f};
}

float quantile(std::vector<float>& values, float q) {
    const auto at = values.begin() + static_cast<ptrdiff_t>(q * static_cast<float>(values.size() - 1));
    std::nth_element(values.begin(), at, values.end());
    return *at;
}

CloudLine hairline(const Vec3& from, const Vec3& to, ImU32 colour, float width = 1) {
    return {from, to, colour, colour, width};
}

std::vector<CloudLine> flat_frame(const CloudCamera& camera, float aspect) {
    std::vector<CloudLine> lines;
    const float rx = camera.extent * aspect, ry = camera.extent;
    const float x0 = camera.centre[0] - rx, x1 = camera.centre[0] + rx, y0 = camera.centre[1] - ry,
                y1 = camera.centre[1] + ry;
    const ImU32 faint = with_alpha(palette::border, 0.55f), zero = palette::border;
    for (const auto& tick : ticks(x0, x1, 6))
        lines.push_back(hairline({tick.value, y0, 0}, {tick.value, y1, 0}, tick.value == 0 ? zero : faint));
    for (const auto& tick : ticks(y0, y1, 5))
        lines.push_back(hairline({x0, tick.value, 0}, {x1, tick.value, 0}, tick.value == 0 ? zero : faint));
    return lines;
}

std::vector<CloudLine> orbit_frame(const Bounds& bounds) {
    std::vector<CloudLine> lines;
    const AxisEnds axes = axis_ends(bounds);
    const ImU32 faint = with_alpha(palette::border, 0.6f);
    const float y = axes.corner[1], z0 = axes.corner[2], z1 = axes.ends[2][2], x0 = axes.corner[0],
                x1 = axes.ends[0][0];
    for (const auto& tick : ticks(x0, x1, 6))
        lines.push_back(hairline({tick.value, y, z0}, {tick.value, y, z1}, faint));
    for (const auto& tick : ticks(z0, z1, 6))
        lines.push_back(hairline({x0, y, tick.value}, {x1, y, tick.value}, faint));
    for (const auto& end : axes.ends)
        lines.push_back(hairline(axes.corner, end, with_alpha(palette::text_dim, 0.8f), 1.5f));
    return lines;
}

}  // namespace

ImU32 bright_sequential(float t) { return sequential(std::isnan(t) ? NAN : 0.25f + 0.75f * std::clamp(t, 0.0f, 1.0f)); }

ImU32 bright_log_probability(float nats) {
    const ImVec4 colour = ImGui::ColorConvertU32ToFloat4(log_probability_colour(nats));
    const auto lift = [](float c) { return 0.2f + 0.8f * c; };
    return ImGui::ColorConvertFloat4ToU32({lift(colour.x), lift(colour.y), lift(colour.z), 1});
}

ImU32 point_colour(const TrajectoryPoint& point, PointColour by, int64_t last) {
    switch (by) {
        case PointColour::thought:
            return palette::thought(point.thought);
        case PointColour::position:
            return bright_sequential(static_cast<float>(point.position) /
                                     static_cast<float>(std::max<int64_t>(1, last)));
        case PointColour::anomaly:
            return bright_sequential((point.anomaly - 50) / 50);
        case PointColour::log_probability:
            return bright_log_probability(point.log_probability);
    }
    return palette::text;
}

std::vector<CloudPoint> cloud_points(const TrajectoryView& view, PointColour by) {
    const int64_t last = last_position(view);
    const float radius = view.points.size() > 3000 ? 2.3f : view.points.size() > 600 ? 3.2f : 4.2f;
    std::vector<CloudPoint> points;
    points.reserve(view.points.size());
    for (const auto& point : view.points) points.push_back({point.at, point_colour(point, by, last), radius});
    return points;
}

std::vector<CloudLine> path_lines(const TrajectoryView& view, const GraphView& graph, PointColour by) {
    Index index;
    for (size_t i = 0; i < view.points.size(); ++i) index[{view.points[i].thought, view.points[i].position}] = i;
    const int64_t last = last_position(view);
    const float strength = std::clamp(std::sqrt(80.0f / static_cast<float>(view.points.size() + 1)), 0.3f, 1.0f);
    std::vector<CloudLine> lines;
    for (size_t i = 0; i < view.points.size(); ++i) {
        const auto& point = view.points[i];
        const bool follows =
            i > 0 && view.points[i - 1].thought == point.thought && view.points[i - 1].position + 1 == point.position;
        if (follows) {
            lines.push_back(line_between(view.points[i - 1], point, by, last, false, strength));
            continue;
        }
        const size_t* before = find_before(index, graph, point);
        if (before != nullptr) lines.push_back(line_between(view.points[*before], point, by, last, true, strength));
    }
    return lines;
}

Bounds bounds_of(const TrajectoryView& view) {
    if (view.points.empty()) return {{-1, -1, -1}, {1, 1, 1}};
    Bounds bounds{view.points[0].at, view.points[0].at};
    for (const auto& point : view.points)
        for (int k = 0; k < 3; ++k) {
            bounds.low[k] = std::min(bounds.low[k], point.at[k]);
            bounds.high[k] = std::max(bounds.high[k], point.at[k]);
        }
    return bounds;
}

Bounds central_bounds(const TrajectoryView& view, int& outside) {
    outside = 0;
    const Bounds all = bounds_of(view);
    if (view.points.size() < 20) return all;
    Bounds central = all;
    for (int k = 0; k < 3; ++k) {
        std::vector<float> values;
        for (const auto& point : view.points) values.push_back(point.at[k]);
        const float low = quantile(values, 0.03f), high = quantile(values, 0.97f), room = 0.6f * (high - low) + 1e-6f;
        central.low[k] = std::max(all.low[k], low - room), central.high[k] = std::min(all.high[k], high + room);
    }
    for (const auto& point : view.points) {
        bool in = true;
        for (int k = 0; k < 3; ++k) in &= point.at[k] >= central.low[k] && point.at[k] <= central.high[k];
        outside += in ? 0 : 1;
    }
    return central;
}

CloudCamera fit_camera(CloudCamera camera, const Bounds& bounds, float aspect) {
    float diagonal = 0;
    for (int k = 0; k < 3; ++k) {
        camera.centre[k] = (bounds.low[k] + bounds.high[k]) / 2;
        diagonal += (bounds.high[k] - bounds.low[k]) * (bounds.high[k] - bounds.low[k]);
    }
    if (camera.flat) {
        const float x = (bounds.high[0] - bounds.low[0]) / 2, y = (bounds.high[1] - bounds.low[1]) / 2;
        camera.extent = 1.18f * std::max(y, x / aspect);
    } else {
        camera.extent = 0.46f * std::sqrt(diagonal) / std::min(1.0f, aspect);
    }
    camera.extent = std::max(camera.extent, 1e-3f);
    return camera;
}

std::vector<AxisTick> ticks(float low, float high, int count) {
    std::vector<AxisTick> out;
    if (!(high > low) || !std::isfinite(high - low)) return out;
    const double raw = (high - low) / std::max(1, count), scale = std::pow(10, std::floor(std::log10(raw)));
    const double step = scale * (raw / scale < 1.5 ? 1 : raw / scale < 3.5 ? 2 : raw / scale < 7.5 ? 5 : 10);
    for (double value = std::ceil(low / step) * step; value <= high && out.size() < 64; value += step) {
        char text[32];
        const double shown = std::fabs(value) < step / 2 ? 0 : value;
        std::snprintf(text, sizeof text, "%.4g", shown);
        out.push_back({static_cast<float>(shown), text});
    }
    return out;
}

AxisEnds axis_ends(const Bounds& bounds) {
    AxisEnds axes;
    axes.corner = bounds.low;
    for (int k = 0; k < 3; ++k) axes.ends[k] = bounds.low, axes.ends[k][k] = bounds.high[k];
    return axes;
}

std::vector<CloudLine> frame_lines(const CloudCamera& camera, const Bounds& bounds, float aspect) {
    return camera.flat ? flat_frame(camera, aspect) : orbit_frame(bounds);
}

}  // namespace savepoint::views
