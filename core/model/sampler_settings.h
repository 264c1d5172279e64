#pragma once

// Plain structs only: views include this file.

#include <cstdint>
#include <vector>

namespace savepoint {

using TokenId = int32_t;

struct SamplerSettings {
    bool greedy = false;
    float temperature = 0.8f;
    int32_t top_k = 0;    // 0: off
    float top_p = 0.95f;  // 1: off
    float min_p = 0.0f;   // 0: off
    uint64_t seed = 0;

    bool operator==(const SamplerSettings&) const = default;
};

struct Candidate {
    TokenId id = 0;
    float probability = 0;  // under the model's own distribution (temperature 1, nothing cut)
};

// Of a next-token distribution softmax(logits), temperature 1.
struct Distribution {
    float entropy = 0;           // nats
    std::vector<Candidate> top;  // most likely first
};

}  // namespace savepoint
