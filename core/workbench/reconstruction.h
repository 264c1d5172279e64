#pragma once

#include <memory>

#include "core/sidecar/evaluate.h"
#include "core/workbench/snapshot.h"

namespace savepoint {

struct Desk;

// The whole path through the codecs, and every byte that must be stored for it (DESIGN, rule 10). Writes
// each token's error into the graph. Needs the path's rows.
std::shared_ptr<const ReconstructionView> measure_reconstruction(Desk& desk, ThoughtId thought);
std::shared_ptr<const ReconstructionView> with_fidelity(ReconstructionView view, const ResumeFidelity& fidelity);

}  // namespace savepoint
