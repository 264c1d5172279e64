#include "core/workbench/memory_budget.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <set>
#include <utility>

#include "core/model/error.h"
#include "core/state/files.h"
#include "core/workbench/desk.h"
#include "core/workbench/edited_tokens.h"
#include "core/workbench/text.h"

namespace savepoint {
namespace {

constexpr auto kPeriod = std::chrono::milliseconds(250);

int64_t bytes_of(const at::Tensor& tensor) { return tensor.defined() ? static_cast<int64_t>(tensor.nbytes()) : 0; }

std::string megabytes(int64_t bytes) { return fixed(static_cast<double>(bytes) / 1e6, 1) + " MB"; }

// Rows were just asked for, or are being read over several steps.
bool rows_are_awaited(const Desk& desk) {
    return desk.tasks.has(TaskKind::preview) || desk.tasks.has(TaskKind::rows) || desk.tasks.has(TaskKind::exporting) ||
           !desk.after_rows.empty() || !desk.redo.empty() || desk.waiting_preview.has_value();
}

std::vector<ThoughtId> ends_in_use(const Desk& desk) {
    std::vector<ThoughtId> ends = desk.analyses.awaiting_rows(desk);
    ends.insert(ends.end(), {desk.current, desk.generating, desk.selected.thought});
    if (const auto& preview = desk.publisher.preview()) {
        ends.push_back(preview->at.thought);
        for (const ThoughtId source : sources_of(preview->edits)) ends.push_back(source);
    }
    std::erase_if(ends, [&](ThoughtId id) { return !desk.graph.contains(id); });
    return ends;
}

std::set<ThoughtId> in_use(const Desk& desk) {
    std::set<ThoughtId> used;
    for (const ThoughtId end : ends_in_use(desk))
        for (const PathSpan& span : desk.graph.path(end)) used.insert(span.thought);
    return used;
}

// What was dropped of one kind, for the log.
struct Dropped {
    int64_t thoughts = 0, bytes = 0;
    void add(int64_t more) { ++thoughts, bytes += more; }
    void report(Desk& desk, const std::string& what) const {
        if (thoughts == 0) return;
        desk.notices.info("memory: dropped " + what + " of " + std::to_string(thoughts) +
                          (thoughts == 1 ? " thought (" : " thoughts (") + megabytes(bytes) +
                          "); they are computed again when needed");
    }
};

}  // namespace

MemoryBudget::MemoryBudget(int64_t bytes) : bytes_(bytes < 0 ? physical_memory() / 2 : bytes) {}

void MemoryBudget::set(int64_t bytes) {
    if (bytes < 0) throw InputError("the memory budget is negative; 0 means no limit");
    bytes_ = bytes;
    warned_ = false;
}

void MemoryBudget::shown(const ThoughtGraph& graph, ThoughtId thought) {
    ++clock_;
    if (thought == 0) return;
    shown_[thought] = clock_;  // the path leaves it out while it has no tokens
    for (const PathSpan& span : graph.path(thought)) shown_[span.thought] = clock_;
}

void MemoryBudget::enforce(Desk& desk, bool at_once) {
    const auto now = std::chrono::steady_clock::now();
    if (bytes_ == 0 || rows_are_awaited(desk) || (!at_once && now < next_look_)) return;
    next_look_ = now + kPeriod;
    if (const int64_t held = desk.graph.bytes(); held > bytes_) drop(desk, held);
}

std::vector<ThoughtId> MemoryBudget::cold(const Desk& desk) const {
    const std::set<ThoughtId> used = in_use(desk);
    std::vector<ThoughtId> cold;
    for (const auto& [id, thought] : desk.graph.thoughts())
        if (!used.contains(id)) cold.push_back(id);
    const auto last_shown = [&](ThoughtId id) {
        const auto found = shown_.find(id);
        return found == shown_.end() ? 0 : found->second;
    };
    std::stable_sort(cold.begin(), cold.end(), [&](ThoughtId a, ThoughtId b) { return last_shown(a) < last_shown(b); });
    return cold;
}

// A little further than it must be: what is dropped one thought at a time is logged one thought at a time.
void MemoryBudget::drop(Desk& desk, int64_t held) {
    const int64_t target = bytes_ - bytes_ / 10;
    const std::vector<ThoughtId> thoughts = cold(desk);
    Dropped hidden, kv;
    for (const ThoughtId id : thoughts) {
        const StateRows& rows = desk.graph.at(id).rows;
        if (held <= target || !rows.has_hidden()) continue;
        const int64_t before = rows.bytes();
        desk.graph.drop_hidden(id);
        hidden.add(before - rows.bytes());
        held -= before - rows.bytes();
        desk.publisher.thought_changed(id);
    }
    // These cost a pass of the model before anything goes on from there: only where they must go.
    for (const ThoughtId id : held > bytes_ ? thoughts : std::vector<ThoughtId>{}) {
        const StateRows& rows = desk.graph.at(id).rows;
        if (held <= target || !rows.has_kv()) continue;
        const int64_t bytes = bytes_of(rows.key) + bytes_of(rows.value);
        desk.graph.drop_kv(id);
        kv.add(bytes);
        held -= bytes;
        desk.publisher.thought_changed(id);
    }
    hidden.report(desk, "the hidden states");
    kv.report(desk, "the keys and values");
    if (held > bytes_) warn_once(desk, held);
}

void MemoryBudget::warn_once(Desk& desk, int64_t held) {
    if (std::exchange(warned_, true)) return;
    desk.notices.warn("memory: what is shown alone holds " + megabytes(held) + " of states, above the budget of " +
                      megabytes(bytes_));
}

}  // namespace savepoint
