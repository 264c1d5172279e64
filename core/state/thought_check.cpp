#include <ATen/ATen.h>

#include <array>
#include <utility>

#include "core/model/error.h"
#include "core/state/thought_graph.h"

namespace savepoint {
namespace {

constexpr std::array<std::pair<EdgeKind, const char*>, 6> kEdgeNames = {{{EdgeKind::root, "root"},
                                                                         {EdgeKind::continuation, "continuation"},
                                                                         {EdgeKind::intervention, "intervention"},
                                                                         {EdgeKind::counterfactual, "counterfactual"},
                                                                         {EdgeKind::merge, "merge"},
                                                                         {EdgeKind::decoded, "decoded"}}};

[[noreturn]] void refuse(const Thought& thought, const std::string& problem) {
    throw InputError("thought " + std::to_string(thought.id) + ": " + problem);
}

bool finite(const at::Tensor& tensor) { return !tensor.defined() || at::isfinite(tensor).all().item<bool>(); }

void check_rows(const Thought& thought) {
    const auto tokens = static_cast<int64_t>(thought.tokens.size());
    for (const auto* part : {&thought.rows.hidden, &thought.rows.key, &thought.rows.value, &thought.rows.last})
        if (part->defined() && (part->dim() < 1 || part->size(0) != tokens))
            refuse(thought, "rows and tokens differ in number");
    if (!thought.stats.empty() && thought.stats.size() != thought.tokens.size())
        refuse(thought, "stats and tokens differ in number");
}

void check_edit(const Thought& thought, const RowEdit& edit) {
    if (edit.empty()) refuse(thought, "an edit changes nothing");
    if (edit.hidden.defined() != (edit.hidden_block >= 0))
        refuse(thought, "an edit's hidden row and hidden_block do not go together");
    if (!finite(edit.hidden)) refuse(thought, "an edit's hidden row is not finite");
    int64_t block = -1;
    for (const KvRow& row : edit.kv) {
        if (row.block <= block) refuse(thought, "an edit's key and value rows are not ascending by block");
        if (!row.key.defined() || !row.value.defined()) refuse(thought, "an edit lacks a key or value row");
        if (!finite(row.key) || !finite(row.value)) refuse(thought, "an edit's key or value row is not finite");
        block = row.block;
    }
}

// An incomplete thought may get the edited token later.
void check_edits(const Thought& thought) {
    const int64_t end = thought.prefix + static_cast<int64_t>(thought.tokens.size());
    int64_t position = thought.prefix - 1;
    for (const RowEdit& edit : thought.edits) {
        check_edit(thought, edit);
        if (edit.position <= position)
            refuse(thought, "edits are not ascending by position within the thought's own tokens");
        position = edit.position;
    }
    if (thought.complete && position >= end) refuse(thought, "an edit lies behind its last token");
}

void check_latent(const Thought& thought) {
    if ((thought.edge == EdgeKind::decoded) != (thought.latent != nullptr))
        refuse(thought, "z and an edge of the kind decoded do not go together");
    if (!thought.latent) return;
    const StoredLatent& z = *thought.latent;
    if (z.bytes.empty()) refuse(thought, "its z is empty");
    if (z.exact_first < 1 || z.exact_first + 2 > static_cast<int64_t>(thought.tokens.size()))
        refuse(thought, "its z is of more tokens than it has");
    if (thought.shape.prefilled != z.exact_first) refuse(thought, "it was not run as its z is decoded");
}

}  // namespace

bool awaits_decoding(const Thought& thought) { return thought.latent && thought.edits.empty(); }

void check_thought(const Thought& thought) {
    if (thought.prompt_tokens < 0 || thought.shape.prefilled < 0 || thought.shape.chunk < 0)
        refuse(thought, "a count is negative");
    if (thought.complete && thought.prompt_tokens > static_cast<int64_t>(thought.tokens.size()))
        refuse(thought, "it has fewer tokens than prompt_tokens");
    for (const TokenId token : thought.tokens)
        if (token < 0) refuse(thought, "a token id is negative");
    check_rows(thought);
    check_latent(thought);
    check_edits(thought);
}

std::string to_string(EdgeKind kind) {
    for (const auto& [value, name] : kEdgeNames)
        if (value == kind) return name;
    throw InputError("an edge of unknown kind");
}

EdgeKind edge_kind_from(const std::string& name) {
    for (const auto& [value, text] : kEdgeNames)
        if (name == text) return value;
    throw InputError("\"" + name + "\" is no kind of edge");
}

}  // namespace savepoint
