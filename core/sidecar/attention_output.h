#pragma once

#include <ATen/core/Tensor.h>

namespace savepoint {

// softmax(q k^T / sqrt(head_dim)) v of each query head before the output projection, causal. All [tokens, layers,
// heads, head_dim], queries and keys after rotary embedding; queries are those of the last tokens that have keys, and
// may have a multiple of the keys' heads. -> [queries, layers, heads, head_dim]
at::Tensor attention_output(const at::Tensor& query, const at::Tensor& key, const at::Tensor& value);

}  // namespace savepoint
