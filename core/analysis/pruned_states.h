#pragma once

#include <ATen/core/Tensor.h>

#include <memory>
#include <span>

#include "core/analysis/anomaly.h"
#include "core/analysis/pruning_settings.h"
#include "core/model/transformer.h"

namespace savepoint {

// Weights of the cache's entries in the sums of a state [tokens, layers, kv_heads] after a run's last token: of none
// and window without looking at `received` [layers, kv_heads, tokens], the attention mass of each by then.
at::Tensor pruned_weights(const Pruning& pruning, const at::Tensor& received, int64_t tokens, int64_t layers,
                          int64_t kv_heads);

// The features of a form (as FormStream gives them for the full sums) of the states that a pruned cache has after every
// token of a run. What is kept changes from token to token, so that each state is summed anew: a token costs
// O(kept x features x head_dim).
class PrunedStates {
   public:
    PrunedStates(std::shared_ptr<const AnomalyReference> reference, const Pruning& pruning);

    // Of the next tokens: their rows (hidden states) and ids, and keys (before rotary embedding) and values of all
    // tokens up to the last of them, [tokens() + ids.size(), layers, kv_heads, head_dim]. Throws InputError on others.
    FormRows next(const Transformer& model, const StateRows& rows, std::span<const TokenId> ids, const at::Tensor& keys,
                  const at::Tensor& values);
    int64_t tokens() const { return tokens_; }

   private:
    void receive(const Transformer& model, const at::Tensor& query, const at::Tensor& key, at::Tensor& by_token);
    at::Tensor asked(const at::Tensor& query);  // what the form's read-outs ask with

    std::shared_ptr<const AnomalyReference> reference_;
    Pruning pruning_;
    int64_t tokens_ = 0;
    at::Tensor received_;   // [layers, kv_heads, tokens]
    at::Tensor query_sum_;  // [layers, heads, head_dim]
};

}  // namespace savepoint
