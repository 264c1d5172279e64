#pragma once

#include <optional>
#include <vector>

#include "core/state/thought_graph.h"
#include "core/workbench/commands.h"

namespace savepoint {

struct Desk;

// A thought about to be made: where it hangs, its given tokens (with the rows that edits put in their
// place), and how it goes on from there.
struct GenerationPlan {
    Thought thought;  // no tokens yet
    std::vector<TokenId> given;
    std::vector<RowEdit> edits;  // of given tokens, ascending
    GenerateSettings settings;
    std::optional<int64_t> look_at;  // path position of the given token to be selected
};

// Each checks everything that can be checked before the model runs; throws InputError.
GenerationPlan plan(Desk& desk, const command::Generate& command);
GenerationPlan plan(Desk& desk, const command::Continue& command);
GenerationPlan plan(Desk& desk, const command::BranchHere& command);
GenerationPlan plan(Desk& desk, const command::ReplaceToken& command);
GenerationPlan plan(Desk& desk, const command::ResumeEdit& command);

}  // namespace savepoint
