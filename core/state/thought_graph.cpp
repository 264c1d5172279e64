#include "core/state/thought_graph.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <unordered_set>
#include <utility>

#include "core/model/error.h"
#include "core/state/growing_rows.h"

namespace savepoint {
namespace {

std::string name_of(ThoughtId id) { return "thought " + std::to_string(id); }

// Sums the memory behind tensors, each piece once.
class Account {
   public:
    void add(const at::Tensor& tensor) {
        if (!tensor.defined() || !tensor.has_storage()) return;
        if (seen_.insert(tensor.storage().unsafeGetStorageImpl()).second)
            bytes_ += static_cast<int64_t>(tensor.storage().nbytes());
    }
    void add(const Thought& thought) {
        for (const auto* part : {&thought.rows.hidden, &thought.rows.key, &thought.rows.value, &thought.rows.last})
            add(*part);
        for (const RowEdit& edit : thought.edits) {
            add(edit.hidden);
            for (const KvRow& row : edit.kv) add(row.key), add(row.value);
        }
    }
    int64_t bytes() const { return bytes_; }

   private:
    std::unordered_set<const void*> seen_;
    int64_t bytes_ = 0;
};

bool shares_memory(const at::Tensor& a, const at::Tensor& b) {
    return a.defined() && b.defined() && a.storage().unsafeGetStorageImpl() == b.storage().unsafeGetStorageImpl();
}

// With `last` in any case, so that a path keeps it where some of its thoughts have dropped hidden.
StateRows slice_of(const Thought& thought, int64_t index, int64_t count) {
    StateRows rows = thought.rows.slice(index, count);
    rows.last = last_rows(rows);
    return rows;
}

}  // namespace

ThoughtId ThoughtGraph::add(Thought thought) {
    thought.id = next_id_;
    insert(std::move(thought));
    return next_id_ - 1;
}

void ThoughtGraph::insert(Thought thought) {
    if (thought.id < next_id_) throw InputError(name_of(thought.id) + ": the id is not above those already given");
    check_thought(thought);
    check_place(thought);
    const ThoughtId id = thought.id;
    if (thought.parent != 0) children_[thought.parent].push_back(id);
    thoughts_.emplace(id, std::move(thought));
    next_id_ = id + 1;
}

void ThoughtGraph::reserve_ids(ThoughtId next) { next_id_ = std::max(next_id_, next); }

void ThoughtGraph::check_place(const Thought& thought) const {
    const std::string name = name_of(thought.id);
    const bool root = thought.edge == EdgeKind::root || thought.edge == EdgeKind::decoded,
               merge = thought.edge == EdgeKind::merge;
    if (root != (thought.parent == 0))
        throw InputError(name + ": only a root, or what was decoded from z, has no parent");
    if (merge != (thought.other_parent != 0))
        throw InputError(name + ": a merge, and nothing else, has another parent");
    if (thought.other_parent != 0) at(thought.other_parent);
    if (root && thought.prefix != 0) throw InputError(name + ": a root has no prefix");
    if (root) return;
    const bool may_start_over = thought.edge == EdgeKind::intervention || thought.edge == EdgeKind::counterfactual;
    const int64_t low = may_start_over ? 0 : 1, high = path_length(thought.parent);
    if (thought.prefix < low || thought.prefix > high)
        throw InputError(name + ": prefix is " + std::to_string(thought.prefix) + "; its parent's path has " +
                         std::to_string(high) + " tokens");
}

const Thought& ThoughtGraph::at(ThoughtId id) const {
    const auto found = thoughts_.find(id);
    if (found == thoughts_.end()) throw InputError("there is no " + name_of(id));
    return found->second;
}

Thought& ThoughtGraph::edit(ThoughtId id) { return const_cast<Thought&>(at(id)); }

std::vector<ThoughtId> ThoughtGraph::children(ThoughtId id) const {
    const auto found = children_.find(id);
    return found == children_.end() ? std::vector<ThoughtId>{} : found->second;
}

void ThoughtGraph::remove(ThoughtId id) {
    const ThoughtId parent = at(id).parent;
    if (!children(id).empty()) throw InputError(name_of(id) + " has branches; remove those first");
    for (const auto& [other, thought] : thoughts_)
        if (thought.other_parent == id)
            throw InputError(name_of(id) + " was merged into " + name_of(other) + "; remove that first");
    if (parent != 0) std::erase(children_[parent], id);
    children_.erase(id);
    spare_.buffers.erase(id);
    thoughts_.erase(id);
}

void ThoughtGraph::append(ThoughtId id, TokenId token, TokenStats stats, const StateRows& row) {
    Thought& thought = edit(id);
    if (thought.complete) throw InputError(name_of(id) + " is complete; branch from it instead");
    append_row(thought.rows, spare_.buffers[id], row, static_cast<int64_t>(thought.tokens.size()));
    thought.stats.resize(thought.tokens.size(), TokenStats{NAN, NAN, {}});
    thought.tokens.push_back(token);
    thought.stats.push_back(std::move(stats));
}

void ThoughtGraph::complete(ThoughtId id) {
    Thought& thought = edit(id);
    give_back_capacity(thought.rows, spare_.buffers[id]);
    spare_.buffers.erase(id);
    thought.tokens.shrink_to_fit();
    thought.stats.shrink_to_fit();
    thought.complete = true;
}

int64_t ThoughtGraph::path_length(ThoughtId id) const {
    const Thought& thought = at(id);
    return thought.prefix + static_cast<int64_t>(thought.tokens.size());
}

std::vector<PathSpan> ThoughtGraph::path(ThoughtId id) const { return path(id, path_length(id)); }

std::vector<PathSpan> ThoughtGraph::path(ThoughtId id, int64_t tokens) const {
    if (tokens < 0 || tokens > path_length(id))
        throw InputError("the path of " + name_of(id) + " has " + std::to_string(path_length(id)) + " tokens, not " +
                         std::to_string(tokens));
    std::vector<PathSpan> spans;
    for (int64_t end = tokens; id != 0 && end > 0; id = at(id).parent) {
        const int64_t first = at(id).prefix;
        if (first >= end) continue;
        spans.push_back({id, first, end - first});
        end = first;
    }
    std::reverse(spans.begin(), spans.end());
    return spans;
}

std::vector<TokenId> ThoughtGraph::path_tokens(ThoughtId id) const {
    std::vector<TokenId> tokens;
    for (const PathSpan& span : path(id)) {
        const auto& own = at(span.thought).tokens;
        tokens.insert(tokens.end(), own.begin(), own.begin() + span.count);
    }
    return tokens;
}

StateRows ThoughtGraph::path_rows(ThoughtId id, int64_t first, int64_t count) const {
    if (first < 0 || count < 0 || count > path_length(id) - first)
        throw InputError("tokens " + std::to_string(first) + " to " + std::to_string(first + count) +
                         " are not on the path of " + name_of(id));
    std::vector<StateRows> parts;
    for (const PathSpan& span : path(id, first + count)) {
        const int64_t from = std::max(first, span.first), until = span.first + span.count;
        if (from < until) parts.push_back(slice_of(at(span.thought), from - span.first, until - from));
    }
    if (parts.empty()) return {};
    return parts.size() == 1 ? parts.front() : concat(parts);
}

std::vector<RowEdit> ThoughtGraph::path_edits(ThoughtId id) const {
    std::vector<RowEdit> edits;
    for (const PathSpan& span : path(id))
        for (const RowEdit& edit : at(span.thought).edits)
            if (edit.position < span.first + span.count) edits.push_back(edit);
    return edits;
}

ThoughtGraph::Owner ThoughtGraph::owner(ThoughtId id, int64_t position) const {
    if (position < 0 || position >= path_length(id))
        throw InputError("token " + std::to_string(position) + " is not on the path of " + name_of(id));
    while (position < at(id).prefix) id = at(id).parent;
    return {id, position - at(id).prefix};
}

int64_t ThoughtGraph::shared_prefix(ThoughtId a, ThoughtId b) const {
    return savepoint::shared_prefix(path(a), path(b));
}

int64_t shared_prefix(const std::vector<PathSpan>& a, const std::vector<PathSpan>& b) {
    int64_t shared = 0;
    for (size_t i = 0; i < std::min(a.size(), b.size()); ++i) {
        if (a[i].thought != b[i].thought || a[i].first != b[i].first) break;
        shared += std::min(a[i].count, b[i].count);
        if (a[i].count != b[i].count) break;
    }
    return shared;
}

int64_t ThoughtGraph::bytes() const {
    Account account;
    for (const auto& [id, thought] : thoughts_) account.add(thought);
    return account.bytes();
}

void ThoughtGraph::drop_hidden(ThoughtId id) {
    StateRows& rows = edit(id).rows;
    const at::Tensor last = last_rows(rows);
    // A view would keep all of hidden alive.
    rows.last = shares_memory(last, rows.hidden) ? last.clone(at::MemoryFormat::Contiguous) : last;
    rows.hidden.reset();
    if (const auto buffer = spare_.buffers.find(id); buffer != spare_.buffers.end()) buffer->second.hidden.reset();
}

void ThoughtGraph::drop_kv(ThoughtId id) {
    Thought& thought = edit(id);
    StateRows& rows = thought.rows;
    rows.key.reset();
    rows.value.reset();
    if (thought.latent) thought.edits.clear();
    const auto buffer = spare_.buffers.find(id);
    if (buffer == spare_.buffers.end()) return;
    buffer->second.key.reset();
    buffer->second.value.reset();
}

at::Tensor last_rows(const StateRows& rows) {
    if (rows.last.defined() || !rows.hidden.defined()) return rows.last;
    return rows.hidden.select(1, rows.hidden.size(1) - 1);
}

}  // namespace savepoint
