#pragma once

#include "core/sidecar/learned_settings.h"

namespace savepoint::testing {

// Layers one by one and few sequences: decomposing and running the model are what takes time.
inline TrainingSettings small_training() {
    TrainingSettings settings;
    settings.codec.architecture = "layer_specific";
    settings.codec.from_token = false;  // predictions from it are what fitting spends most time on
    settings.codec.width = 16;
    settings.codec.feed_forward = 16;
    settings.codec.corrects = true;
    settings.codec.ratio = 12;
    settings.fit_tokens = 960;
    settings.held_out_tokens = 64;
    settings.prefix = 24;
    settings.followers = 8;
    settings.rounds = 3;
    settings.sequences_per_round = 4;
    settings.progressive_rounds = 0;
    settings.warmup_rounds = 1;
    settings.validate_every = 1;
    settings.kl_share = 0.34;
    settings.bracket = {0.8};
    return settings;
}

}  // namespace savepoint::testing
