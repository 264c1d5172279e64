#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "core/model/sampler_settings.h"

namespace savepoint {

// The uniform random number in [0, 1) of a token: a function of (seed, token index in the path) alone.
double token_uniform(uint64_t seed, int64_t token_index);

// One draw. logits [vocab]. Order of the cuts: top-k, top-p, min-p on the tempered distribution (as
// llama.cpp: top-k, top-p, min-p, then temperature -- state which order is implemented and why).
// Throws InputError on NaN logits or settings out of range.
TokenId sample(const at::Tensor& logits, const SamplerSettings& settings, int64_t token_index);

Distribution describe(const at::Tensor& logits, int64_t top = 10);
float log_probability(const at::Tensor& logits, TokenId token);              // nats
// KL(p || q) in nats of two rows of logits [vocab] (or row by row for [n, vocab] -> [n]).
at::Tensor kl_divergence(const at::Tensor& p_logits, const at::Tensor& q_logits);

}  // namespace savepoint
