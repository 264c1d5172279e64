#pragma once

#include <functional>

#include "core/model/transformer.h"
#include "core/state/thought_graph.h"

namespace savepoint {

// Brings a cache to "the first `tokens` tokens of the path of `thought`", reusing what it already holds.
// The cache must have been filled by this LiveCache alone.
class LiveCache {
   public:
    LiveCache(const Transformer& model, const ThoughtGraph& graph);

    // Truncates to the prefix shared with what the cache holds, then restores saved K/V rows (bit for bit)
    // and, where a thought's K/V were dropped, replays its tokens in its execution shape, edits included.
    // `keep_going` is asked between chunks of a replay; false throws Cancelled.
    KvCache& rewind(ThoughtId thought, int64_t tokens, const std::function<bool()>& keep_going = {});
    // After the model appended tokens that now belong to `thought`.
    void advanced(ThoughtId thought);
    // Logits [vocab] after the last of the first `tokens` tokens, from the saved `last` row (bit for bit the
    // ones first computed), or by replay when it was not kept.
    at::Tensor next_logits(ThoughtId thought, int64_t tokens);
    void forget();  // when the graph was replaced

    KvCache& cache();
   private:
    const Transformer& model_;
    const ThoughtGraph& graph_;
    KvCache cache_;
    ThoughtId thought_ = 0;
};

// Runs the path of `thought` again in the execution shape that each thought stores, with the exact rows
// of every intervention put in place, and returns the rows (hidden, key, value) of the whole path.
// Bit for bit what was first computed, on the same machine.
StateRows replay_path(const Transformer& model, const ThoughtGraph& graph, ThoughtId thought,
                      const std::function<bool(double)>& keep_going = {});

}  // namespace savepoint
