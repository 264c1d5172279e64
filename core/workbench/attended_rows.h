#pragma once

#include <ATen/core/Tensor.h>

#include "core/state/thought_graph.h"

namespace savepoint {

struct Desk;

// What attention worked on at tokens position.. of a thought's path, whose rows must be there: query [tokens, layers,
// heads, head_dim], key and value [tokens, layers, kv_heads, head_dim]; before or after rotary embedding.
struct AttendedRows {
    at::Tensor query, key, value;
};
AttendedRows attended_rows(const Desk& desk, ThoughtId thought, int64_t position, int64_t count, bool rotary,
                           bool queries = true);

// Keys (before rotary embedding) and values of the first `tokens` of a path: [tokens, layers, kv_heads, head_dim].
at::Tensor path_keys(const ThoughtGraph& graph, ThoughtId thought, int64_t tokens);
at::Tensor path_values(const ThoughtGraph& graph, ThoughtId thought, int64_t tokens);

}  // namespace savepoint
