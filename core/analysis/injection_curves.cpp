#include "core/analysis/injection_curves.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <numeric>

#include "core/analysis/detector.h"
#include "core/analysis/phi_state.h"
#include "core/analysis/separation.h"
#include "core/model/error.h"
#include "core/model/parallel.h"
#include "core/sidecar/evaluate.h"

namespace savepoint {

namespace {

double mean_of(const std::vector<double>& values) {
    return std::accumulate(values.begin(), values.end(), 0.0) / static_cast<double>(values.size());
}

// [tokens, heads x head_dim]: the default form of the state after each token.
at::Tensor read_outs(const TextRun& run, const Phi& phi, int64_t layer) {
    return read_out(phi, run.layer_query.unsqueeze(1), run.key.slice(1, layer, layer + 1),
                    run.value.slice(1, layer, layer + 1))
        .values.flatten(1);
}

// Where each score belongs.
void deal(const ExperimentJudge& judge, size_t text, double score, PositionScores& to) {
    const bool test = judge.part[text] == Part::test;
    if (judge.label[text] == 1) {
        if (test) to.injected.push_back(score);
    } else if (test || judge.part[text] == Part::calibration) {
        to.held_out.push_back(score);
        if (test) to.normal.push_back(score);
    }
}

// features [texts, columns] of one position: Mahalanobis distances, fitted on the normal training texts.
PositionScores distances(const at::Tensor& features, const ExperimentJudge& judge) {
    const at::Tensor rows = judge.in_reference_units(features);
    std::vector<int64_t> fit;
    for (size_t i = 0; i < judge.part.size(); ++i)
        if (judge.is_reference(i)) fit.push_back(static_cast<int64_t>(i));
    const auto detector = make_detector({DetectorKind::mahalanobis});
    detector->fit(points_of(rows.index_select(0, at::tensor(fit, at::kLong))), {});
    const std::vector<double> score = detector->score(points_of(rows));
    PositionScores out;
    for (size_t i = 0; i < judge.part.size(); ++i) deal(judge, i, score[i], out);
    return out;
}

// values [texts, tokens, columns], of the positions from `begin` on.
std::vector<PositionScores> by_distance(const at::Tensor& values, const ExperimentJudge& judge, int64_t begin) {
    std::vector<PositionScores> out(static_cast<size_t>(values.size(1) - begin));
    parallel_tasks(static_cast<int64_t>(out.size()),
                   [&](int64_t i) { out[static_cast<size_t>(i)] = distances(values.select(1, begin + i), judge); });
    return out;
}

std::vector<PositionScores> by_surprise(const std::vector<TextRun>& runs, const ExperimentJudge& judge, int64_t begin) {
    std::vector<PositionScores> out;
    for (int64_t t = begin; t < runs.front().tokens; ++t) {
        PositionScores one;
        for (size_t i = 0; i < judge.part.size(); ++i)
            deal(judge, i, -runs[i].log_probability.at(static_cast<size_t>(t - 1)), one);
        out.push_back(std::move(one));
    }
    return out;
}

}  // namespace

ScoreCurve score_curve(const std::string& name, const std::vector<PositionScores>& positions, int64_t first) {
    ScoreCurve out;
    out.name = name;
    for (const PositionScores& at : positions) {
        if (at.injected.empty() || at.normal.empty() || at.held_out.empty())
            throw InputError("injection: normal and injected texts are needed in the test");
        const double zero = mean_of(at.held_out), one = percentile_95(at.held_out);
        const double unit = std::max(one - zero, 1e-12);
        out.mean.push_back((mean_of(at.injected) - zero) / unit);
        const auto above = std::count_if(at.injected.begin(), at.injected.end(), [&](double x) { return x > one; });
        out.above.push_back(static_cast<double>(above) / static_cast<double>(at.injected.size()));
        std::vector<double> score = at.injected;
        score.insert(score.end(), at.normal.begin(), at.normal.end());
        std::vector<int> label(score.size(), 0);
        std::fill_n(label.begin(), at.injected.size(), 1);
        out.auroc.push_back(auroc(score, label));
        const int64_t position = first + static_cast<int64_t>(out.mean.size()) - 1;
        if (out.delay < 0 && position >= 0 && out.mean.back() > 1) out.delay = position;
    }
    return out;
}

InjectionCurves injection_curves(const std::vector<TextRun>& runs, const ExperimentJudge& judge, const Phi& phi,
                                 int64_t layer, int64_t injected_at, int64_t injected) {
    const int64_t begin = std::max<int64_t>(1, injected_at - kBeforeInjection);
    std::vector<at::Tensor> state, hidden;
    for (size_t i = 0; i < judge.part.size(); ++i) {
        state.push_back(read_outs(runs[i], phi, layer));
        hidden.push_back(runs[i].layer_hidden);
    }
    InjectionCurves out{begin - injected_at, injected, {}};
    out.curves.push_back(score_curve("state", by_distance(at::stack(state), judge, begin), out.first));
    out.curves.push_back(score_curve("activation", by_distance(at::stack(hidden), judge, begin), out.first));
    out.curves.push_back(score_curve("log_probability", by_surprise(runs, judge, begin), out.first));
    return out;
}

}  // namespace savepoint
