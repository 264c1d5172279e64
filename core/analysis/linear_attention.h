#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "core/analysis/feature_map.h"

namespace savepoint {

at::Tensor apply(FeatureMap map, const at::Tensor& x);

// S_t = sum_{i <= t} phi(k_i)^T v_i [features, head_dim] and n_t = sum_{i <= t} phi(k_i) [features], of one
// layer set: s [layers, kv_heads, features, head_dim], n [layers, kv_heads, features], float32. The recurrent
// form: O(features x head_dim) a token and head. A copy of it is independent (tensors are copied on write), so
// a branch may keep the state of its parent. Also where the model's own block attends to a sliding window, S sums over
// all tokens before. Every function below throws InputError when shapes disagree.
struct LinearAttentionState {
    at::Tensor s, n;  // undefined: zero, until the first token
    int64_t tokens = 0;
    FeatureMap map = FeatureMap::elu1;

    void add(const at::Tensor& key, const at::Tensor& value);        // one token: [layers, kv_heads, head_dim]
    void add_all(const at::Tensor& keys, const at::Tensor& values);  // [tokens, layers, kv_heads, head_dim]
};

// S_t / n_t row by row: the mean value that each feature remembers, [layers, kv_heads, features, head_dim].
// identity: S_t / t, as for the read-out.
at::Tensor normalized_rows(const LinearAttentionState& state);

// The same for every token at once by chunked prefix sums:
// key, value [tokens, layers, kv_heads, head_dim] -> s [tokens, layers, kv_heads, f, d], n [tokens, layers, kv_heads,
// f].
struct LinearAttentionStates {
    at::Tensor s, n;
};
LinearAttentionStates prefix_states(const at::Tensor& key, const at::Tensor& value, FeatureMap map);

// The read-out of each query head, phi(q_t) S_t / phi(q_t) n_t (what linear attention would output), without
// materialising S (chunked): query [tokens, layers, heads, head_dim] -> [tokens, layers, heads, head_dim].
// Query head h reads KV head h / (heads / kv_heads).
// identity is signed: its denominator may vanish, so its form is phi(q_t) S_t / t.
// `start`: the state before the first token given (null: none), for scoring a live run from where it is.
at::Tensor read_out(const at::Tensor& query, const at::Tensor& key, const at::Tensor& value, FeatureMap map,
                    const LinearAttentionState* start = nullptr);
at::Tensor read_out_one(const at::Tensor& query,
                        const LinearAttentionState& state);  // one token: [layers, heads, head_dim]

}  // namespace savepoint
