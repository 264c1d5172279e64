#pragma once

#include <memory>

#include "core/workbench/snapshot.h"

namespace savepoint::test {

// A made-up map of the tokens of `trajectory`, as UMAP of latents would give: `maps` of them, in two clusters, left and
// right of x = 0, by whether the position is even; one point lies far outside.
std::shared_ptr<const ProjectionView> sample_projection(const TrajectoryView& trajectory, int maps);

// Rows of a file, for frame times: a spiral of `points` points in ten labelled arms.
std::shared_ptr<const ProjectionView> large_projection(int64_t points, int dimensions);

}  // namespace savepoint::test
