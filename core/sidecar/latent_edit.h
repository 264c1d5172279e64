#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "core/sidecar/edit.h"
#include "core/sidecar/sidecar.h"

namespace savepoint {

void to_json(nlohmann::json& out, const LatentEdit& edit);
void from_json(const nlohmann::json& in, LatentEdit& edit);  // throws InputError naming the field

// z of the token that copy and interpolation take from. [1 token].
using SourceLatent = std::function<Latent(int64_t thought, int64_t token)>;

// z (rows for path positions first_position...) with the edits applied in order, on a copy. Values land on
// the codecs' grids only when packed; an edit is not rounded. Throws InputError (naming the field) for a
// group, block, component or token that is not there, for a part that a joint sidecar does not have, and for a result
// that is not finite.
Latent apply_edits(const Sidecar& sidecar, const Latent& latent, int64_t first_position,
                   const std::vector<LatentEdit>& edits, const SourceLatent& source);

// The groups and parts that a list of edits touches at one token: what must be replaced on resuming. An edit of a joint
// z touches the hidden states of its group, and keys and values of its blocks but the first, which are made of the
// group below.
struct TouchedGroup {
    int64_t group;
    bool hidden, kv;
    std::vector<int64_t> blocks;
};
std::vector<TouchedGroup> touched(const Sidecar& sidecar, const std::vector<LatentEdit>& edits, int64_t position);

// The exact rows that put D(z) of one token in the model's place, for the touched groups: hidden of the
// highest touched group's last block, keys and values of the touched blocks. Used with the edited z for
// the edit and with the unedited z for its control.
RowEdit decode_row(const Sidecar& sidecar, const Latent& latent, int64_t row, int64_t position,
                   const std::vector<TouchedGroup>& groups);

}  // namespace savepoint
