#pragma once

#include <string>
#include <vector>

#include "core/analysis/phi_ranking_settings.h"
#include "core/workbench/snapshot.h"

namespace savepoint {

// Feature maps by how well linear attention's read-out reproduces the model's own attention (core/analysis/
// phi_ranking.h); growing while it runs: rows are then of the texts compared so far (PhiFidelity::tokens).
struct PhiRankingView {
    Phase phase = Phase::absent;  // absent: was cancelled
    double progress = 0;
    std::string stage, error;
    PhiRankingSettings settings;
    std::vector<PhiFidelity> rows;  // by relative error, the best first
};

}  // namespace savepoint
