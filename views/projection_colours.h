#pragma once

#include <functional>
#include <string>
#include <vector>

#include "core/workbench/projection_view.h"
#include "views/point_cloud.h"

namespace savepoint::views {

// What the colour of a point on a map means.
enum class MapColour {
    thought,
    position,
    layer,  // of a token that is several points
    cluster,
    anomaly,
    log_probability,
    entropy,
    reconstruction,
    label  // a column of labels in a file
};

const char* map_colour_name(MapColour by);
// Those that the points have something for, in the order of the menu.
std::vector<MapColour> map_colours(const ProjectionView& view);

// A colour for each point and the legend that explains it.
struct ColouredPoints {
    std::vector<ImU32> colours;
    struct Class {
        std::string name;
        ImU32 colour = 0;
        std::vector<uint32_t> points;
    };
    std::vector<Class> classes;  // thoughts, clusters, labels: by number of points, largest first
    // Otherwise a gradient
    std::string low, high, tip;
    std::function<ImU32(float)> gradient;  // t in [0, 1]
};
// label: which column, of MapColour::label.
ColouredPoints colour_points(const ProjectionView& view, const ProjectionMap& map, MapColour by, size_t label = 0);

ImU32 class_colour(size_t index);  // distinct hues, for clusters and labels

}  // namespace savepoint::views
