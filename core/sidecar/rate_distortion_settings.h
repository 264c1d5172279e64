#pragma once

// Plain structs only: views include this file.

#include <cstdint>
#include <string>
#include <vector>

namespace savepoint {

struct RateDistortionSettings {
    std::string corpus = "fortunes";  // to fit on; or another of corpus_named()
    std::string held_out;  // empty: of the same corpus; "chat": the same in the chat template; or a corpus_named()
    int64_t fit_tokens = 25600;
    int64_t held_out_tokens = 3072;  // of sequences of prefix + followers
    int64_t prefix = 192;            // decoded, its first exact_first tokens replayed
    int64_t followers = 64;          // compared after it
    int64_t exact_first = 4;
    int64_t group_size = 4;  // blocks that a transform codes together
    std::vector<double> ratios = {8, 16, 32};
    std::vector<std::string> parts = {"kv", "hidden", "full"};
    bool baselines = true;   // the training-free codecs too
    bool ablations = false;  // the transform codec without its metric, its predictions
    int64_t long_runs = 0;   // sequences that also go on by themselves (long_runs.h), for codecs of keys and values
    uint64_t seed = 1;

    bool operator==(const RateDistortionSettings&) const = default;
};

}  // namespace savepoint
