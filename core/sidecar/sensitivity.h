#pragma once

#include <ATen/core/Tensor.h>

#include <vector>

#include "core/model/transformer.h"

namespace savepoint {

// How much the next-token distributions of later tokens move when the key and value of a token move: the Fisher
// information of each block's K/V row,
//   F_l = E[g g^T],  g = d/d[K_l; V_l](t) sum_s log p(y_s),  y_s ~ p(. | exact), s over the tokens that follow,
// so that the mean KL(exact || perturbed) of those tokens is about tokens / (2 followers) E[d^T F d]
// (Amari, Information Geometry; second order, cross terms between tokens and between blocks left out).
struct Sensitivity {
    at::Tensor fisher;    // [layers, 2 kv_dim, 2 kv_dim] float32, keys (before rotary embedding) first
    double weight = 0;    // tokens / (2 followers) of the runs it was estimated on: KL in nats is weight E[d^T F d]
    int64_t samples = 0;  // gradients
};

// One draw of it: what the model's K/V rows and its sampled next tokens say.
struct SampledGradient {
    StateRows rows;       // of the prefixes, one after another, hidden states among them
    at::Tensor gradient;  // g of each row: [sequences, prefix, layers, 2 kv_dim] on the CPU
};
// Sequences of one length, beyond the prefix; throws InputError otherwise.
SampledGradient sampled_gradient(const Transformer& model, const std::vector<std::vector<TokenId>>& sequences,
                                 int64_t prefix, uint64_t seed);

// Needs gradients through the model: about four forward passes' time for each batch.
class SensitivityFit {
   public:
    SensitivityFit(const Transformer& model, uint64_t seed);
    // Sequences of one length; gradients of the rows exact_first .. prefix - 1 from what follows the prefix.
    void add(const std::vector<std::vector<TokenId>>& sequences, int64_t prefix, int64_t exact_first);
    Sensitivity finish() const;  // throws InputError when nothing was added

   private:
    const Transformer& model_;
    uint64_t seed_, draws_ = 0;
    at::Tensor sum_;
    int64_t samples_ = 0;
    double weight_ = 0, batches_ = 0;
};

}  // namespace savepoint
