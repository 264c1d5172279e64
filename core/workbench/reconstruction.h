#pragma once

#include <memory>

#include "core/sidecar/evaluate.h"
#include "core/workbench/aside.h"
#include "core/workbench/snapshot.h"

namespace savepoint {

struct Desk;

// The whole path through the codecs, and every byte that must be stored for it (DESIGN, rule 10). One call
// that cannot be cut, so it runs on a thread of its own. Needs the path's rows.
class ReconstructionRun {
   public:
    ReconstructionRun(const Desk& desk, ThoughtId thought);
    ThoughtId thought() const { return thought_; }
    int64_t tokens() const { return tokens_; }
    bool finished() const { return aside_->finished(); }
    // When finished; writes each token's error into the graph. Throws what measuring threw.
    std::shared_ptr<const ReconstructionView> view(Desk& desk) const;

   private:
    ThoughtId thought_;
    int64_t tokens_;
    std::shared_ptr<ReconstructionError> error_ = std::make_shared<ReconstructionError>();
    std::unique_ptr<Aside> aside_;
};

std::shared_ptr<const ReconstructionView> with_fidelity(ReconstructionView view, const ResumeFidelity& fidelity);

}  // namespace savepoint
