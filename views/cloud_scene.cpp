#include "views/cloud_scene.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <unordered_map>

#include "views/palette.h"

namespace savepoint::views {
namespace {

struct TokenKey {
    ThoughtId thought;
    int64_t position;
    int32_t part;
    bool operator==(const TokenKey&) const = default;
};
struct TokenHash {
    size_t operator()(const TokenKey& key) const {
        uint64_t mixed = static_cast<uint64_t>(key.thought) * 0x9E3779B97F4A7C15ull;
        mixed = (mixed ^ static_cast<uint64_t>(key.position)) * 0xD1B54A32D192ED03ull;
        return (mixed ^ static_cast<uint64_t>(key.part + 1)) * 0x9E3779B97F4A7C15ull >> 16;
    }
};
using Index = std::unordered_map<TokenKey, uint32_t, TokenHash>;

ThoughtId parent_of(const GraphView& graph, ThoughtId id) {
    for (const auto& thought : graph.thoughts)
        if (thought.id == id) return thought.parent;
    return 0;
}

// The point that a thought's first token follows: its owner may be any ancestor.
const uint32_t* find_before(const Index& index, const GraphView& graph, const PathToken& token) {
    ThoughtId owner = parent_of(graph, token.thought);
    for (size_t steps = 0; owner != 0 && steps <= graph.thoughts.size(); ++steps, owner = parent_of(graph, owner)) {
        const auto found = index.find({owner, token.position - 1, token.part});
        if (found != index.end()) return &found->second;
    }
    return nullptr;
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

float disc_radius(size_t points) { return points > 30000 ? 1.5f : points > 3000 ? 2.3f : points > 600 ? 3.2f : 4.2f; }

std::vector<PathLink> token_links(std::span<const PathToken> tokens, const GraphView& graph) {
    Index index;
    index.reserve(tokens.size());
    for (uint32_t i = 0; i < tokens.size(); ++i) index[{tokens[i].thought, tokens[i].position, tokens[i].part}] = i;
    std::vector<PathLink> links;
    for (uint32_t i = 0; i < tokens.size(); ++i) {
        if (tokens[i].thought == 0) continue;
        const auto before = index.find({tokens[i].thought, tokens[i].position - 1, tokens[i].part});
        if (before != index.end()) {
            links.push_back({before->second, i, false});
            continue;
        }
        const uint32_t* branch = find_before(index, graph, tokens[i]);
        if (branch != nullptr) links.push_back({*branch, i, true});
    }
    return links;
}

std::vector<PathLink> part_links(std::span<const PathToken> tokens) {
    std::vector<PathLink> links;
    for (uint32_t i = 1; i < tokens.size(); ++i) {
        const PathToken &a = tokens[i - 1], &b = tokens[i];
        if (a.thought == b.thought && a.position == b.position && a.part < b.part) links.push_back({i - 1, i, false});
    }
    return links;
}

std::vector<CloudLine> link_lines(std::span<const PathLink> links, std::span<const Vec3> places,
                                  std::span<const CloudPoint> points, bool heads) {
    // Of lines among so many points that they would hide them, less than 1.
    const float strength = std::clamp(std::sqrt(80.0f / static_cast<float>(links.size() + 1)), 0.3f, 1.0f);
    std::vector<CloudLine> lines;
    lines.reserve(links.size());
    for (const PathLink& link : links) {
        const auto faded = [&](ImU32 colour) {
            const float own = static_cast<float>(colour >> IM_COL32_A_SHIFT) / 255;
            return with_alpha(colour, own * strength * (link.branch ? 0.35f : 0.6f));
        };
        lines.push_back({places[link.from], places[link.to], faded(points[link.from].colour),
                         faded(points[link.to].colour), link.branch || strength < 1 ? 1.2f : 1.8f,
                         heads ? 0.9f * points[link.to].radius + 4 : 0});
    }
    return lines;
}

Bounds bounds_of(std::span<const Vec3> places) {
    if (places.empty()) return {{-1, -1, -1}, {1, 1, 1}};
    Bounds bounds{places[0], places[0]};
    for (const Vec3& place : places)
        for (int k = 0; k < 3; ++k) {
            bounds.low[k] = std::min(bounds.low[k], place[k]);
            bounds.high[k] = std::max(bounds.high[k], place[k]);
        }
    return bounds;
}

Bounds central_bounds(std::span<const Vec3> places, int& outside) {
    outside = 0;
    const Bounds all = bounds_of(places);
    if (places.size() < 20) return all;
    Bounds central = all;
    for (int k = 0; k < 3; ++k) {
        std::vector<float> values;
        for (const Vec3& place : places) values.push_back(place[k]);
        const float low = quantile(values, 0.03f), high = quantile(values, 0.97f), room = 0.6f * (high - low) + 1e-6f;
        central.low[k] = std::max(all.low[k], low - room), central.high[k] = std::min(all.high[k], high + room);
    }
    // No wider than what is left.
    Bounds inner{central.high, central.low};
    for (const Vec3& place : places) {
        bool in = true;
        for (int k = 0; k < 3; ++k) in &= place[k] >= central.low[k] && place[k] <= central.high[k];
        outside += in ? 0 : 1;
        for (int k = 0; in && k < 3; ++k) {
            inner.low[k] = std::min(inner.low[k], place[k]);
            inner.high[k] = std::max(inner.high[k], place[k]);
        }
    }
    return inner;
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
