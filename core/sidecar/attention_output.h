#pragma once

#include <ATen/core/Tensor.h>

#include "core/model/config.h"

namespace savepoint {

// Causal attention of the last tokens that have keys, in local blocks within the sliding window. Queries, keys and
// values [tokens, layers, heads, head_dim], of all layers, queries and keys after rotary embedding; queries may have a
// multiple of the keys' heads.

// What each of the last queries does not attend to in a layer: [queries, tokens].
at::Tensor unseen_keys(const ModelConfig& config, int64_t layer, int64_t queries, int64_t tokens);

// softmax(q k^T / sqrt(head_dim)): [layers, heads, queries, tokens].
at::Tensor attention_weights(const ModelConfig& config, const at::Tensor& query, const at::Tensor& key);

// Weights times values, of each query head, before the output projection: [queries, layers, heads, head_dim].
at::Tensor attention_output(const ModelConfig& config, const at::Tensor& query, const at::Tensor& key,
                            const at::Tensor& value);

}  // namespace savepoint
