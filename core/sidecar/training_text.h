#pragma once

#include <string>
#include <vector>

#include "core/model/tokenizer.h"
#include "core/sidecar/learned_settings.h"

namespace savepoint {

// What a training reads, in sequences of prefix + followers. Documents are held out before any is fitted on; of what is
// fitted on, the sample is kept from the networks: tables and steps fitted on what a network has learned by heart would
// expect smaller z than come.
struct TrainingText {
    std::vector<std::vector<TokenId>> fit, looks, held_out;  // looks: at held-out text during training
    std::string sha256;                                      // of fit
    int64_t prefix = 0;
    uint64_t seed = 0;

    bool in_sample(size_t i) const;  // of fit
    // Sequence i of fit for the transform's moments. What the sample holds ends where a saved run would: the bits of a
    // token depend on what is near the end.
    std::vector<TokenId> run(size_t i) const;
    // The index-th that networks are trained on: all outside the sample, in an order of their own each time the text
    // has been gone through.
    const std::vector<TokenId>& sequence(int64_t index) const;
};

// Throws FileError, InputError: the text is missing or too short.
TrainingText training_text(const TrainingSettings& settings, const Tokenizer& tokenizer);

}  // namespace savepoint
