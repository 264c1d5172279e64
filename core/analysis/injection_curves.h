#pragma once

#include <memory>
#include <vector>

#include "core/analysis/experiment_judge.h"
#include "core/analysis/experiment_result.h"
#include "core/analysis/experiment_run.h"
#include "core/analysis/phi.h"

namespace savepoint {

inline constexpr int64_t kBeforeInjection = 16;  // tokens that a curve begins before what was injected

// The curves of texts of one length that have `injected` tokens from `injected_at` on, or do not (experiment_result.h):
// runs as the judge's parts, token by token at `layer`; `phi` of that layer.
InjectionCurves injection_curves(const std::vector<TextRun>& runs, const ExperimentJudge& judge, const Phi& phi,
                                 int64_t layer, int64_t injected_at, int64_t injected);

// Position by position: the scores of injected and of normal test texts, and of all held-out normal ones, which give
// the unit. Throws InputError where one of them is empty.
struct PositionScores {
    std::vector<double> injected, normal, held_out;
};
ScoreCurve score_curve(const std::string& name, const std::vector<PositionScores>& positions, int64_t first);

}  // namespace savepoint
