#pragma once

#include <functional>
#include <vector>

#include "views/cloud_scene.h"
#include "views/figure.h"
#include "views/projection_colours.h"
#include "views/token_selection.h"

namespace savepoint::views {

struct FigureMap {
    ProjectionMap map;
    std::function<CloudCamera(float aspect)> camera;  // what it shows in a rectangle of that shape
    std::vector<ImU32> colours;                       // of its points
};

// Maps as a picture for a paper: what was projected and how, how far it can be trusted, axes, legend, lines, and the
// text of up to sixty selected tokens. Call within a frame: labels are measured with its font.
Figure projection_figure(const ProjectionView& view, const std::vector<FigureMap>& maps,
                         const std::vector<PathLink>& links, const ColouredPoints& legend, MapColour by,
                         const TokenSelection& selection);

// "UMAP of latents, all groups; n_neighbors 15, min_dist 0.1, euclidean, seed 1"
std::string describe_projection(const ProjectionView& view);

}  // namespace savepoint::views
