#pragma once

#include <ATen/core/Tensor.h>

#include <deque>

#include "core/state/thought_graph.h"

namespace savepoint {

struct Desk;

// What attention worked on at tokens position.. of a thought's path, whose rows must be there: query [tokens, layers,
// heads, head_dim], key and value [tokens, layers, kv_heads, head_dim]; before or after rotary embedding. A query that
// is known (before it) is not made again.
struct AttendedRows {
    at::Tensor query, key, value;
};
AttendedRows attended_rows(const Desk& desk, ThoughtId thought, int64_t position, int64_t count, bool rotary,
                           bool queries = true, const at::Tensor& known_query = {});

// hook_q of the newest tokens of the thought that is being generated, as the model made them on the way: to make them
// again from the rows costs a fifth of a token. Some are kept, of one thought.
class FreshQueries {
   public:
    // Of the thought's token at `position` of its path: [1, layers, heads, head_dim], before rotary embedding.
    void add(ThoughtId thought, int64_t position, at::Tensor query);
    // [count, layers, heads, head_dim]; undefined where not all of them are kept.
    at::Tensor find(ThoughtId thought, int64_t position, int64_t count) const;
    void clear() { kept_.clear(); }

   private:
    ThoughtId thought_ = 0;
    int64_t first_ = 0;  // the position of the first that is kept
    std::deque<at::Tensor> kept_;
};

// Keys (before rotary embedding) and values of the first `tokens` of a path: [tokens, layers, kv_heads, head_dim].
at::Tensor path_keys(const ThoughtGraph& graph, ThoughtId thought, int64_t tokens);
at::Tensor path_values(const ThoughtGraph& graph, ThoughtId thought, int64_t tokens);

}  // namespace savepoint
