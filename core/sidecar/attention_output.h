#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "core/model/config.h"

namespace savepoint {

// Causal attention of the last tokens that have keys, in local blocks within the sliding window. Queries and keys after
// rotary embedding; query head h reads KV head h / (heads / kv_heads).

// softmax(q k^T / sqrt(head_dim)) of one layer: query [n, heads, head_dim], key [tokens, kv_heads, head_dim] -> [heads,
// n, tokens].
at::Tensor attention_weights(const ModelConfig& config, int64_t layer, const at::Tensor& query, const at::Tensor& key);

// Weights times values, of each query head of all layers, before the output projection: query [n, layers, heads,
// head_dim], key and value [tokens, layers, kv_heads, head_dim] -> [n, layers, heads, head_dim].
at::Tensor attention_output(const ModelConfig& config, const at::Tensor& query, const at::Tensor& key,
                            const at::Tensor& value);

}  // namespace savepoint
