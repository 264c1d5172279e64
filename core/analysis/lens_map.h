#pragma once

// Standard types only: views include this file.

#include <cstdint>
#include <string>
#include <vector>

#include "core/model/sampler_settings.h"

namespace savepoint {

inline constexpr int64_t kLensTop = 3;

// What each layer of each token would say next: [tokens, layers], token-major; the first `read` tokens are valid.
struct LensMap {
    int64_t first = 0, tokens = 0, layers = 0, read = 0;  // first: position of the first token in the path
    std::vector<TokenId> top;                             // [tokens, layers, kLensTop] most likely next tokens
    std::vector<float> top_probability;                   // the same shape
    std::vector<float> entropy;                           // nats
    std::vector<float> kl;                                // KL(the model's own distribution there || this), nats
    std::vector<float> next_probability;                  // of the token that did come next; NaN for the last
    std::vector<float> difference;                        // logit(target) - logit(distractor); NaN: none chosen
};

// Of a tuned lens: mean KL(final || lens) over held-out tokens, nats, one a layer.
struct LensFigures {
    std::vector<float> kl_logit, kl_tuned;
    int64_t fitted_tokens = 0, held_out_tokens = 0;
};

}  // namespace savepoint
