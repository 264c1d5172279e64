#pragma once

#include <optional>
#include <string>
#include <vector>

#include "core/sidecar/latent_edit.h"
#include "core/workbench/commands.h"

namespace savepoint {

struct Desk;

// The tokens from the first edited one up to the token whose next-token distribution is asked for, and
// the exact rows that put decode(z) and decode(edited z) in the model's place.
struct EditedTokens {
    TokenRef at;                                     // by owner
    int64_t first = 0;                               // path position of the first edited token
    std::vector<TokenId> tokens;                     // first..at.position
    StateRows saved;                                 // of the same tokens
    Latent z, edited;                                // of first..last edited token
    std::vector<RowEdit> control_rows, edited_rows;  // of the touched tokens, ascending
    std::vector<TouchedGroup> groups;                // of the last edited token
    std::string touched_key;                         // equal for edits that have the same control
};

// Throws InputError for what is not there. All rows needed must be (see rows_task.h).
EditedTokens edit_tokens(Desk& desk, const TokenRef& at, const std::vector<LatentEdit>& edits);
// Thoughts other than `at`'s whose rows the edits take from.
std::vector<ThoughtId> sources_of(const std::vector<LatentEdit>& edits);
// Copying and interpolating make a counterfactual, anything else an intervention.
bool takes_from_another(const std::vector<LatentEdit>& edits);

const RowEdit* find_edit(const std::vector<RowEdit>& edits, int64_t position);

}  // namespace savepoint
