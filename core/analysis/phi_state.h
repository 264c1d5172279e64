#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <vector>

#include "core/analysis/phi.h"

namespace savepoint {

// S_t = sum_i w_i phi(k_i)^T v_i and n_t = sum_i w_i phi(k_i) per layer and KV head, for any phi. All weights are 1
// unless given: 0 and 1 prune the cache, attention mass weights it. float32. Of exponential phi the sums are held
// divided by exp(log_max), log_max the largest log-feature seen by that head; when it moves the old sums are rescaled.
// A copy is independent of what it was copied from.
struct PhiState {
    std::shared_ptr<const Phi> phi;
    at::Tensor s;         // [layers, kv_heads, features, head_dim]; undefined: zero, until the first token
    at::Tensor n;         // [layers, kv_heads, features]
    at::Tensor absolute;  // [layers, kv_heads, features] sum of w |phi(k)|; the same tensor as n where phi >= 0
    at::Tensor log_max;   // [layers, kv_heads]; undefined unless phi is exponential
    at::Tensor weight;    // [layers, kv_heads] sum of w: t, when all are 1
    int64_t tokens = 0;

    // [tokens, layers, kv_heads, head_dim] each; weights [tokens, layers, kv_heads] >= 0, or none. One token costs
    // O(features x head_dim) a head. Throws InputError on shapes that disagree.
    void add(const at::Tensor& keys, const at::Tensor& values, const at::Tensor& weights = {});
};

// A run's states, any of which is quickly had: the state before every `stride`-th token is kept.
class PhiRun {
   public:
    PhiRun(std::shared_ptr<const Phi> phi, at::Tensor keys, at::Tensor values, int64_t stride = 64);
    PhiState after(int64_t tokens) const;  // of the first `tokens`; throws InputError beyond the run
    int64_t tokens() const { return keys_.size(0); }

   private:
    at::Tensor keys_, values_;
    int64_t stride_;
    std::vector<PhiState> kept_;
};

// Where a denominator is below this fraction of what it would be without cancellation, the quotient is masked: 0, and
// counted.
inline constexpr double kLeastDenominator = 1e-3;

struct PhiReadOut {
    at::Tensor values;  // [tokens, layers, heads, head_dim]
    at::Tensor masked;  // [tokens] int64: layers and heads of each token whose denominator vanished
};
// phi(q_t) S_t / phi(q_t) n_t of every token and query head, by chunks, S never materialised; phi(q_t) S_t / t for
// signed phi. query [tokens, layers, heads, head_dim]; query head h reads KV head h / (heads / kv_heads).
// `start`: the state before the first token given (null: none), for going on with a live run.
PhiReadOut read_out(const Phi& phi, const at::Tensor& query, const at::Tensor& key, const at::Tensor& value,
                    const PhiState* start = nullptr);
// The same, and `state` goes on to the last of these tokens. A few tokens, as they come from a running generation, go
// through the recurrence itself, at O(features x head_dim) a token and query head.
PhiReadOut read_on(PhiState& state, const at::Tensor& query, const at::Tensor& key, const at::Tensor& value);

}  // namespace savepoint
