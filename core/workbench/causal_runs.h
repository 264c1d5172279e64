#pragma once

#include <memory>

#include "core/analysis/alignment.h"
#include "core/analysis/drift_scale.h"
#include "core/analysis/patching.h"
#include "core/workbench/causal_view.h"

namespace savepoint {

struct Desk;

// The path of a thought as a run, from rows that are in memory; throws InputError when some are not.
StateRun path_run(const Desk& desk, ThoughtId thought);
PatchRun patch_run(const Desk& desk, ThoughtId thought);  // with the edits of its interventions

std::shared_ptr<const RunPairView> run_pair_view(const Desk& desk, ThoughtId a, ThoughtId b,
                                                 const Alignment& alignment);

// The scale of distances that was fitted last, for the sidecar and the phi that it was fitted with.
struct KnownScale {
    std::shared_ptr<const DriftScale> scale;
    std::shared_ptr<const Sidecar> sidecar;
    PhiSettings phi;
};

}  // namespace savepoint
