#pragma once

// Plain types only: views include this file.

#include <cstdint>
#include <string>
#include <vector>

#include "core/analysis/phi_settings.h"

namespace savepoint {

struct PhiRankingSettings {
    std::string corpus = "fortunes";  // or another of corpus_named()
    std::vector<PhiKind> kinds = all_phi();
    std::vector<int> rotary = {0, 1};  // of 0 (keys and queries before rotary embedding) and 1 (after it)
    int64_t sequence_length = 128;
    int64_t held_out_tokens = 3072;
    int64_t first = 4;             // tokens left out: there is little to choose between at the start
    int64_t hedgehog_steps = 200;  // sequences of the fitting part, gone through again when they run out
    int64_t fit_tokens = 12800;
    int64_t favor_features = 128;
    int64_t dpfp_nu = 1;
    uint64_t seed = 1;
};

// Of one phi, against z of the model's softmax attention, over all tokens and heads of held-out text.
struct PhiFidelity {
    PhiKind kind = PhiKind::identity;
    bool rotary = false;
    int64_t features = 0;
    int64_t tokens = 0;         // of held-out text, that it was compared on
    double relative_error = 0;  // |read-out - z| / |z|, lengths over tokens and heads, mean over layers
    double cosine = 0;          // of read-out and z, mean over tokens, heads and layers
    double masked = 0;          // fraction of read-outs whose denominator vanished
    std::vector<double> layer_error, layer_cosine;
};

}  // namespace savepoint
