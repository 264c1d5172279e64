#include "views/projection_colours.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <set>

#include "views/cloud_scene.h"
#include "views/palette.h"
#include "views/widgets.h"

namespace savepoint::views {
namespace {

constexpr ImU32 kGrey = IM_COL32(112, 120, 134, 255);  // noise; no value

using Points = std::vector<ProjectionPoint>;

// A gradient over a number of each point, which is grey where there is none.
ColouredPoints by_number(const Points& points, const std::function<float(const ProjectionPoint&)>& share,
                         std::function<ImU32(float)> gradient, std::string low, std::string high, std::string tip) {
    ColouredPoints out;
    out.low = std::move(low), out.high = std::move(high), out.tip = std::move(tip);
    for (const ProjectionPoint& point : points) {
        const float t = share(point);
        out.colours.push_back(std::isnan(t) ? kGrey : gradient(std::clamp(t, 0.0f, 1.0f)));
    }
    out.gradient = std::move(gradient);
    return out;
}

// name_of: of a class; its colour.
template <typename Key>
ColouredPoints by_class(const std::vector<Key>& keys, const std::function<std::string(const Key&)>& name_of,
                        const std::function<ImU32(const Key&, size_t rank)>& colour_of) {
    std::map<Key, std::vector<uint32_t>> found;
    for (uint32_t i = 0; i < keys.size(); ++i) found[keys[i]].push_back(i);
    std::vector<std::pair<Key, std::vector<uint32_t>>> order(found.begin(), found.end());
    std::stable_sort(order.begin(), order.end(),
                     [](const auto& a, const auto& b) { return a.second.size() > b.second.size(); });
    ColouredPoints out;
    out.colours.resize(keys.size());
    for (size_t rank = 0; rank < order.size(); ++rank) {
        const ImU32 colour = colour_of(order[rank].first, rank);
        for (const uint32_t i : order[rank].second) out.colours[i] = colour;
        out.classes.push_back({name_of(order[rank].first), colour, std::move(order[rank].second)});
    }
    return out;
}

ColouredPoints by_thought(const Points& points) {
    std::vector<int64_t> keys;
    for (const ProjectionPoint& point : points) keys.push_back(point.thought);
    return by_class<int64_t>(
        keys, [](const int64_t& id) { return id == 0 ? "rows of the file" : "thought " + std::to_string(id); },
        [](const int64_t& id, size_t) { return id == 0 ? palette::accent : palette::thought(id); });
}

ColouredPoints by_cluster(const ProjectionMap& map, size_t points) {
    std::vector<int32_t> keys(map.clusters->begin(), map.clusters->end());
    keys.resize(points, -1);
    return by_class<int32_t>(
        keys, [](const int32_t& k) { return k < 0 ? "in no cluster" : "cluster " + std::to_string(k + 1); },
        [](const int32_t& k, size_t) { return k < 0 ? kGrey : class_colour(static_cast<size_t>(k)); });
}

ColouredPoints by_label(const ProjectionPoints& points, size_t label) {
    std::vector<std::string> keys;
    for (const auto& labels : points.labels) keys.push_back(label < labels.size() ? labels[label] : "");
    return by_class<std::string>(
        keys, [](const std::string& name) { return name.empty() ? "(empty)" : name; },
        [](const std::string&, size_t rank) { return class_colour(rank); });
}

float highest(const Points& points, const std::function<float(const ProjectionPoint&)>& value) {
    float most = 0;
    for (const ProjectionPoint& point : points)
        if (value(point) > most) most = value(point);
    return most;
}

ColouredPoints by_amount(const Points& points, const std::function<float(const ProjectionPoint&)>& value,
                         const char* unit, const char* tip) {
    const float most = highest(points, value);
    return by_number(
        points, [&](const ProjectionPoint& p) { return most > 0 ? value(p) / most : value(p); }, bright_sequential, "0",
        (most == std::floor(most) ? std::to_string(static_cast<int64_t>(most)) : format_number(most)) + unit, tip);
}

}  // namespace

ImU32 class_colour(size_t index) {
    const float hue = std::fmod(0.05f + 0.381966f * static_cast<float>(index % 4096), 1.0f);
    return ImColor::HSV(hue, index / 8 % 2 == 0 ? 0.62f : 0.4f, 0.95f);
}

const char* map_colour_name(MapColour by) {
    switch (by) {
        case MapColour::thought:
            return "thought";
        case MapColour::position:
            return "position";
        case MapColour::layer:
            return "layer";
        case MapColour::cluster:
            return "cluster";
        case MapColour::anomaly:
            return "anomaly";
        case MapColour::log_probability:
            return "log-probability";
        case MapColour::entropy:
            return "entropy";
        case MapColour::reconstruction:
            return "reconstruction";
        case MapColour::label:
            return "label";
    }
    return "?";
}

std::vector<MapColour> map_colours(const ProjectionView& view) {
    std::vector<MapColour> all;
    const bool file = view.settings.source == ProjectionSource::file;
    const bool clustered = std::any_of(view.maps.begin(), view.maps.end(), [](const auto& m) { return m.clusters; });
    if (!file) all.push_back(MapColour::thought);
    all.push_back(MapColour::position);
    if (view.settings.arrangement == ProjectionArrangement::stacked) all.push_back(MapColour::layer);
    if (clustered || view.settings.clusters != ClusterMethod::none) all.push_back(MapColour::cluster);
    if (!view.points->label_names.empty()) all.push_back(MapColour::label);
    if (file) return all;
    for (const MapColour by :
         {MapColour::anomaly, MapColour::log_probability, MapColour::entropy, MapColour::reconstruction})
        all.push_back(by);
    return all;
}

ColouredPoints colour_points(const ProjectionView& view, const ProjectionMap& map, MapColour by, size_t label) {
    const Points& points = view.points->points;
    const auto position = [](const ProjectionPoint& p) { return static_cast<float>(p.position); };
    const auto layer = [](const ProjectionPoint& p) { return static_cast<float>(p.part); };
    const bool file = view.settings.source == ProjectionSource::file;
    switch (by) {
        case MapColour::thought:
            return by_thought(points);
        case MapColour::position:
            return by_amount(points, position, "",
                             file ? "Number of the row in the file." : "Position of the token in its path.");
        case MapColour::layer:
            return by_amount(points, layer, "", "The layer after which the hidden state was taken.");
        case MapColour::cluster:
            if (map.clusters) return by_cluster(map, points.size());
            break;
        case MapColour::label:
            if (!view.points->labels.empty()) return by_label(*view.points, label);
            break;
        case MapColour::anomaly:
            return by_number(
                points, [](const ProjectionPoint& p) { return (p.anomaly - 50) / 50; }, bright_sequential, "50 or less",
                "100th percentile",
                "How unusual the token's attention state is among calibration tokens at like positions; grey: not "
                "scored.");
        case MapColour::log_probability:
            return by_number(
                points, [](const ProjectionPoint& p) { return (p.log_probability + 10) / 10; },
                [](float t) { return bright_log_probability(-10 + 10 * t); }, "-10", "0 nats",
                "Log-probability that the model gave the token, in nats; grey: the first token has none.");
        case MapColour::entropy:
            return by_amount(
                points, [](const ProjectionPoint& p) { return p.entropy; }, " nats",
                "Entropy of the distribution over the next token, in nats: 0 is certain.");
        case MapColour::reconstruction:
            return by_amount(
                points, [](const ProjectionPoint& p) { return p.hidden_fvu; }, "",
                "Fraction of the variance of the token's hidden states that the sidecar loses; grey: not measured.");
    }
    return by_number(
        points, [](const ProjectionPoint&) { return NAN; }, bright_sequential, "", "", "Not there yet.");
}

}  // namespace savepoint::views
