#pragma once

#include <functional>
#include <vector>

#include "core/model/transformer.h"
#include "core/state/thought_graph.h"

namespace savepoint {

// One forward pass over own tokens of a thought. A thought's ExecutionShape and edits say how it is cut
// into passes: of its first `prefilled` tokens each edited one is decoded with its edit, and the
// stretches between them are prefilled in chunks that count from the stretch's beginning (chunk 0: all
// at once); the tokens after those are decoded one by one. Whoever runs a thought first cuts it the
// same way, so that running it again is bit for bit the same. Throws Error for a z that is yet to be decoded.
struct Pass {
    int64_t first = 0, count = 0;  // own tokens of the thought
    bool decoded = false;
    const RowEdit* edit = nullptr;  // decoded only; belongs to the thought
};
std::vector<Pass> passes_of(const Thought& thought);

// Of a thought that this process runs, in the chunks and by the threads that it uses.
ExecutionShape execution_shape(const Transformer& model, int64_t prefilled);

// The number of threads that a thought was made with, for as long as this lives: sums are cut differently
// for another number, which changes their last bits. One at a time.
class ThreadsOf {
   public:
    explicit ThreadsOf(const ExecutionShape& shape);
    ~ThreadsOf();
    ThreadsOf(const ThreadsOf&) = delete;
    ThreadsOf& operator=(const ThreadsOf&) = delete;

   private:
    int before_;
};

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

    KvCache& cache() { return cache_; }

   private:
    void fill(const PathSpan& span, const std::function<bool()>& keep_going);
    void replay(const Thought& thought, const PathSpan& span, const std::function<bool()>& keep_going);

    const Transformer& model_;
    const ThoughtGraph& graph_;
    KvCache cache_;
    std::vector<PathSpan> held_;  // the cache is the first cache_.length() tokens of this path
};

// Runs the path of `thought` again in the execution shape that each thought stores, with the exact rows
// of every intervention put in place, and returns the rows (hidden, key, value) of the whole path.
// Bit for bit what was first computed, on the same machine. `keep_going` gets the fraction done; false
// throws Cancelled.
StateRows replay_path(const Transformer& model, const ThoughtGraph& graph, ThoughtId thought,
                      const std::function<bool(double)>& keep_going = {});

}  // namespace savepoint
