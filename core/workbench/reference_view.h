#pragma once

// Plain structs only: views include this file.

#include <cstdint>
#include <string>

#include "core/analysis/anomaly_choice.h"

namespace savepoint {

// The reference that anomaly scores are wanted of. absent: it has not been fitted (or its fit was cancelled), and
// scores stay those of Snapshot::anomaly_choice; command::FitReference fits it. ready: it is in use.
struct ReferenceView {
    enum class State { absent, fitting, ready, failed } state = State::absent;
    AnomalyChoice choice;
    double progress = 0;  // 0..1 while fitting
    std::string stage, error;
    int64_t fitted_tokens = 0, calibration_tokens = 0;  // when ready
};

}  // namespace savepoint
