#pragma once

#include <memory>
#include <string>
#include <vector>

#include "core/analysis/pruned_states.h"
#include "core/state/thought_graph.h"
#include "core/workbench/snapshot.h"

namespace savepoint {

struct Desk;

// Anomaly scores of the states that a pruned cache would have, of one path at a time and from its beginning: what is
// kept depends on the whole path.
class PrunedBook {
   public:
    void clear() { states_.reset(); }
    // Whether so many tokens of the path are to be scored: a pruning is chosen and a reference in use.
    bool behind(const Desk& desk, ThoughtId thought, int64_t tokens = 1) const;
    void advance(const Desk& desk, ThoughtId thought, int64_t tokens);
    // The view with these scores in it, as far as they go.
    std::shared_ptr<const AnomalyView> beside(const Desk& desk, std::shared_ptr<const AnomalyView> full) const;

   private:
    bool is_of(const Desk& desk, ThoughtId thought) const;    // its choices, and a beginning of that path
    bool reaches(const Desk& desk, ThoughtId thought) const;  // what is scored so far is a beginning of that path

    ThoughtId thought_ = 0;
    std::string choice_;
    Pruning pruning_;
    std::unique_ptr<PrunedStates> states_;
    std::vector<float> percentile_, distance_, token_percentile_;
};

}  // namespace savepoint
