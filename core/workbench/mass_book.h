#pragma once

#include <memory>
#include <vector>

#include "core/analysis/attention_mass.h"
#include "core/state/thought_graph.h"
#include "core/workbench/lens_view.h"

namespace savepoint {

struct Desk;

// Attention mass of the tokens of a path. What a token received depends on the whole path, so that a branch has a
// count of its own; one that goes on from where another ended begins with what that one has. The last few are kept.
class MassBook {
   public:
    void clear() { paths_.clear(); }
    void forget(ThoughtId thought);
    // Adds what the next `tokens` tokens of the path pay; false when all have paid.
    bool advance(const Desk& desk, ThoughtId thought, int64_t tokens);
    int64_t counted(const Desk& desk, ThoughtId thought) const;  // tokens of the path that have paid
    std::shared_ptr<const AttentionMassView> view(const Desk& desk, ThoughtId thought) const;  // null: none counted

   private:
    struct Path {
        ThoughtId thought;
        AttentionMass mass;
    };
    const Path* find(const Desk& desk, ThoughtId thought) const;
    AttentionMass& begin(const Desk& desk, ThoughtId thought);

    std::vector<Path> paths_;  // last used last
};

}  // namespace savepoint
