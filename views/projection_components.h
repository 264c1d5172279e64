#pragma once

#include <imgui.h>

#include "core/workbench/projection_view.h"

namespace savepoint::views {

// Scree plot of a map's principal components (bars), cumulative variance (line), and the loadings of the chosen one.
void draw_components(const ProjectionMap& map, int& chosen, ImVec2 size);

}  // namespace savepoint::views
