#pragma once

#include <string>
#include <vector>

#include "core/analysis/point_table.h"
#include "core/state/thought_graph.h"
#include "core/workbench/map_fit.h"
#include "core/workbench/projection_view.h"

namespace savepoint {

struct Desk;

// One map that is to be made: which layers (groups) it joins, and what they are called.
struct MapPlan {
    std::string label;
    std::vector<int64_t> parts;
    std::vector<MapPart> columns;
    bool stacked = false;  // a point for each of the parts, which are then of the width of the only column
    int64_t per_token() const { return stacked ? static_cast<int64_t>(parts.size()) : 1; }
};

// The maps that the settings ask for. Throws InputError on a layer that is not there, and without the model or sidecar.
std::vector<MapPlan> map_plans(const Desk& desk, const ProjectionSettings& settings);
// Own tokens of the thoughts in scope, each token once, by thought.
std::vector<PathSpan> spans_in_scope(const Desk& desk, const ProjectionSettings& settings);
// Of a span, the own tokens from here on are shown.
int64_t first_in_map(const Desk& desk, const ProjectionSettings& settings, const PathSpan& span);
// Appends the rows of own tokens first .. first + count of a thought. Throws InputError where they are not in memory.
void gather_rows(const Desk& desk, const ProjectionSettings& settings, const MapPlan& plan, ThoughtId thought,
                 int64_t first, int64_t count, PointTable& out);
// Appends the points of the same tokens in the same order.
void gather_points(const Desk& desk, const MapPlan& plan, ThoughtId thought, int64_t first, int64_t count,
                   std::vector<ProjectionPoint>& out);

}  // namespace savepoint
