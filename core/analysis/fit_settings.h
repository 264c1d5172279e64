#pragma once

// Plain structs only: views include this file.

#include <cstdint>
#include <string>

#include "core/sidecar/joint_settings.h"
#include "core/sidecar/pca_settings.h"

namespace savepoint {

// separate: a z of hidden states and one of keys and values, by principal axes. joint: one z for all three.
enum class SidecarForm { separate, joint };

struct FitSettings {
    SidecarForm form = SidecarForm::joint;
    PcaSettings pca;      // separate
    JointSettings joint;  // joint
    int64_t exact_first_tokens() const {
        return form == SidecarForm::joint ? joint.exact_first_tokens : pca.exact_first_tokens;
    }
    std::string corpus = "fortunes";  // or another of corpus_named()
    int64_t sequence_length = 192;
    int64_t fit_tokens = 16320;         // corpus text (own samples come on top)
    int64_t calibration_tokens = 4032;  // of no part of the codecs: figures and quantiles are from them
    int64_t own_samples = 16;           // sequences that the model writes itself, half of them in its chat format
    int64_t own_sample_length = 80;     // tokens: a chat turn with its system prompt takes 40
    uint64_t seed = 1;
};

}  // namespace savepoint
