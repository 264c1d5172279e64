#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <span>

#include "core/analysis/drift_parts.h"
#include "core/model/transformer.h"

namespace savepoint {

// The attention that each token of a run has received from the tokens after it, by layer and head:
//   mass[l, h, j] = sum over t > j of softmax(q_t K^T / sqrt(head_dim))[j]   (local blocks: within their window)
// in queries: 1 is all the attention that one later token pays in one head. It is the accumulated attention score by
// which heavy-hitter caches choose what to keep (H2O, Zhang et al. 2023, arXiv 2306.14048, section 4), but for what a
// token pays to itself. float32. Grows with the run: tokens that are added pay to those before.
class AttentionMass {
   public:
    // The next tokens of the run: their rows (hidden states: queries are made from them) and ids, and the keys (before
    // rotary embedding) of all tokens up to the last of them, [tokens() + ids.size(), layers, kv_heads, head_dim].
    // Memory: ids.size() x tokens x heads floats. Throws InputError on rows that are missing or too few.
    void add(const Transformer& model, const StateRows& rows, std::span<const TokenId> ids, const at::Tensor& keys);
    int64_t tokens() const { return received_.defined() ? received_.size(2) : 0; }
    const at::Tensor& received() const { return received_; }  // [layers, heads, tokens]; undefined before the first

   private:
    at::Tensor received_;
};

// What the queries [n, heads, head_dim] of tokens first... of a layer pay to each token before their own: [heads, n,
// first + n], 0 from their own on. key [first + n, kv_heads, head_dim]; both after rotary embedding.
at::Tensor attention_paid(const ModelConfig& config, int64_t layer, const at::Tensor& query, const at::Tensor& key,
                          int64_t first);

AttentionMass attention_mass(const Transformer& model, const StateRun& run);

}  // namespace savepoint
