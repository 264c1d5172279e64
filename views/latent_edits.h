#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "core/sidecar/edit.h"
#include "core/workbench/snapshot.h"

namespace savepoint::views {

// The list of pending edits, as the latent editor keeps it: in the order in which they are applied. No drawing.

// What a slider or an operation acts on. Keys and values: of `block`; hidden: of the whole group.
struct EditScope {
    LatentPart part = LatentPart::hidden;
    int64_t group = 0, block = -1;
    int64_t first_token = 0, last_token = 0;
};

LatentEdit make_edit(EditKind kind, const EditScope& scope);

// Appends the edit; an older one of the same kind, place and component gives way to it.
void put(std::vector<LatentEdit>& edits, const LatentEdit& edit);

// Removes what was `set` for one component; false: there was nothing.
bool reset_component(std::vector<LatentEdit>& edits, const EditScope& scope, int64_t component);

// What the edits make of one component at the token: nothing (not touched), a value, or NaN when it cannot be
// known here (noise, another token's values). In standard deviations.
std::optional<float> edited_value(const std::vector<LatentEdit>& edits, const EditScope& scope, int64_t block_of_slider,
                                  int64_t component, int64_t token);

bool touches_group(const std::vector<LatentEdit>& edits, int64_t group);
bool touches_part(const std::vector<LatentEdit>& edits, int64_t group, LatentPart part);

std::string group_label(const SidecarView& sidecar, int64_t group);
// One line: "blocks 12-15 hidden #3 = +2.00 sd".
std::string describe(const LatentEdit& edit, const SidecarView& sidecar);

}  // namespace savepoint::views
