#include "core/workbench/edited_tokens.h"

#include <algorithm>

#include "core/model/error.h"
#include "core/workbench/desk.h"

namespace savepoint {
namespace {

bool has_source(const LatentEdit& edit) {
    return edit.kind == EditKind::copy || edit.kind == EditKind::lerp || edit.kind == EditKind::slerp;
}

int64_t first_edited(const std::vector<LatentEdit>& edits) {
    return std::min_element(edits.begin(), edits.end(),
                            [](const auto& a, const auto& b) { return a.first_token < b.first_token; })
        ->first_token;
}

int64_t last_edited(const std::vector<LatentEdit>& edits) {
    return std::max_element(edits.begin(), edits.end(),
                            [](const auto& a, const auto& b) { return a.last_token < b.last_token; })
        ->last_token;
}

void check_range(const TokenRef& at, const std::vector<LatentEdit>& edits) {
    if (edits.empty()) throw InputError("there are no edits to apply");
    if (first_edited(edits) < 0) throw InputError("edit: first_token is negative");
    if (last_edited(edits) > at.position) {
        throw InputError("edit: last_token is " + std::to_string(last_edited(edits)) + ", beyond the selected token " +
                         std::to_string(at.position) + "; edits reach up to that token");
    }
}

Latent encode_rows(const Sidecar& sidecar, const StateRows& rows) {
    Latent z = sidecar.encode({rows.hidden, rows.key, rows.value, {}});
    if (!z.hidden.defined()) throw InputError("the hidden states of this thought are not in memory; show it first");
    return z;
}

std::string key_of(const std::vector<TouchedGroup>& groups, int64_t position) {
    std::string key = "@" + std::to_string(position);
    for (const TouchedGroup& group : groups) {
        key += ":" + std::to_string(group.group) + (group.hidden ? "h" : "");
        for (const int64_t block : group.blocks) key += "," + std::to_string(block);
    }
    return key;
}

void add_rows(const Sidecar& sidecar, const std::vector<LatentEdit>& edits, EditedTokens& result) {
    for (int64_t row = 0; row < result.z.tokens(); ++row) {
        const int64_t position = result.first + row;
        std::vector<TouchedGroup> groups = touched(sidecar, edits, position);
        if (groups.empty()) continue;
        result.control_rows.push_back(decode_row(sidecar, result.z, row, position, groups));
        result.edited_rows.push_back(decode_row(sidecar, result.edited, row, position, groups));
        result.touched_key += key_of(groups, position);
        result.groups = std::move(groups);
    }
}

}  // namespace

EditedTokens edit_tokens(Desk& desk, const TokenRef& at, const std::vector<LatentEdit>& edits) {
    const Sidecar& sidecar = desk.need_sidecar();
    check_range(at, edits);
    EditedTokens result;
    result.at = {desk.locate(at).thought, at.position};
    result.first = first_edited(edits);
    const int64_t count = at.position - result.first + 1;
    const std::vector<TokenId> path = desk.graph.path_tokens(result.at.thought);
    result.tokens.assign(path.begin() + result.first, path.begin() + at.position + 1);
    result.saved = desk.graph.path_rows(result.at.thought, result.first, count);

    result.z = encode_rows(sidecar, result.saved.slice(0, last_edited(edits) - result.first + 1));
    const SourceLatent source = [&](int64_t thought, int64_t token) {
        desk.locate({thought, token});
        return encode_rows(sidecar, desk.graph.path_rows(thought, token, 1));
    };
    result.edited = apply_edits(sidecar, result.z, result.first, edits, source);
    add_rows(sidecar, edits, result);
    return result;
}

std::vector<ThoughtId> sources_of(const std::vector<LatentEdit>& edits) {
    std::vector<ThoughtId> sources;
    for (const LatentEdit& edit : edits)
        if (has_source(edit)) sources.push_back(edit.source_thought);
    return sources;
}

bool takes_from_another(const std::vector<LatentEdit>& edits) {
    return std::any_of(edits.begin(), edits.end(), has_source);
}

const RowEdit* find_edit(const std::vector<RowEdit>& edits, int64_t position) {
    const auto found =
        std::find_if(edits.begin(), edits.end(), [&](const RowEdit& edit) { return edit.position == position; });
    return found == edits.end() ? nullptr : &*found;
}

}  // namespace savepoint
