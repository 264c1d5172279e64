#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "core/model/sampler_settings.h"

namespace savepoint {

// The uniform random number in [0, 1) of a token: a function of (seed, token index in the path) alone.
double token_uniform(uint64_t seed, int64_t token_index);

// One draw. logits [vocab]. p = softmax(logits / temperature), and then the cuts in this order:
//   top-k: the k most likely; top-p: the fewest most likely whose sum reaches top_p of what is left;
//   min-p: those with p >= min_p max(p).
// The temperature comes first, as in Hugging Face transformers and unlike llama.cpp: top_p is then a
// statement about the distribution that is drawn from. The draw inverts the cumulative sum, most likely
// first (by id when nothing is cut). Greedy: the largest logit, the lowest id of equals.
// Throws InputError on logits that are not finite or settings out of range.
TokenId sample(const at::Tensor& logits, const SamplerSettings& settings, int64_t token_index);

Distribution describe(const at::Tensor& logits, int64_t top = 10);
float log_probability(const at::Tensor& logits, TokenId token);  // nats
// KL(p || q) in nats of two rows of logits [vocab], or row by row for q [n, vocab] -> [n] with p the same or one row.
at::Tensor kl_divergence(const at::Tensor& p_logits, const at::Tensor& q_logits);

}  // namespace savepoint
