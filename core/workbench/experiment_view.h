#pragma once

#include <memory>
#include <string>

#include "core/analysis/experiment_result.h"
#include "core/workbench/snapshot.h"

namespace savepoint {

struct ExperimentSettings;

// An experiment, growing while it runs: texts come with the split, rows choice by choice.
struct ExperimentView {
    Phase phase = Phase::absent;  // absent: was cancelled
    double progress = 0;
    std::string name, stage, error;
    std::shared_ptr<const ExperimentResult> result;      // never null
    std::shared_ptr<const ExperimentSettings> settings;  // for the workbench's own reports
};

}  // namespace savepoint
