#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "core/analysis/attention_capture.h"
#include "core/analysis/phi.h"

namespace savepoint {

// Learns hedgehog's maps (Zhang et al. 2024, section 4): for every head, W_q and the W_k of its KV head are moved by
// Adam (Kingma & Ba 2015) so that the weights of linear attention, phi(q_t) phi(k_i) / sum_j phi(q_t) phi(k_j), come
// near those of the softmax attention of the same queries and keys in cross-entropy, averaged over tokens. Starts from
// W = d^(-1/4) I. Call step() with one run after another; deterministic.
class HedgehogFit {
   public:
    HedgehogFit(const ModelConfig& config, PhiSettings settings, double rate = 0.01);
    double step(const AttentionRun& run);  // the loss before the step, nats: mean over tokens and heads
    Phi finish() const;
    // The least that the loss can be: the entropy of softmax attention itself, mean over tokens and heads.
    static double entropy(const AttentionRun& run);

   private:
    struct Adam {
        at::Tensor value, mean, square;
    };
    void move(Adam& parameter, double rate) const;

    PhiSettings settings_;
    double rate_;
    int64_t steps_ = 0;
    Adam query_, key_;  // [layers, heads, d, d], [layers, kv_heads, d, d]
};

}  // namespace savepoint
