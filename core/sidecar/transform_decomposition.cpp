#include "core/sidecar/transform_decomposition.h"

#include <algorithm>

namespace savepoint {

namespace {

constexpr int64_t kBatch = 3;  // sequences of a gradient
constexpr uint64_t kSeed = 1;

int64_t batches(size_t sequences) { return (static_cast<int64_t>(sequences) + kBatch - 1) / kBatch; }

}  // namespace

std::vector<TransformDecomposition::Planned> TransformDecomposition::planned(int64_t layers, int64_t group_size,
                                                                             const Text& text, bool weighted) {
    std::vector<Planned> plan;
    const auto add = [&](Stage stage, int64_t count) {
        for (int64_t i = 0; i < count; ++i) plan.push_back({stage, i});
    };
    const int64_t groups = (layers + group_size - 1) / group_size;
    add(Stage::decompose, groups);
    if (!weighted) return plan;
    if (!text.calibration.empty()) {
        add(Stage::begin_calibration, 1);
        add(Stage::calibrate, MetricCalibration::steps(layers, static_cast<int64_t>(text.calibration.size())));
        add(Stage::weigh, 1);
        add(Stage::decompose, groups);
    }
    if (!text.importance.empty()) {
        add(Stage::begin_importance, 1);
        add(Stage::importance, batches(text.importance.size()));
    }
    return plan;
}

int64_t TransformDecomposition::steps(int64_t layers, int64_t group_size, const Text& text, bool weighted) {
    return static_cast<int64_t>(planned(layers, group_size, text, weighted).size());
}

TransformDecomposition::TransformDecomposition(const Transformer& model, TransformFit& fit,
                                               std::optional<Sensitivity> sensitivity, Text text, double ratio)
    : fit_(fit),
      text_(std::move(text)),
      ratio_(ratio),
      plan_(planned(model.config().layers, fit.settings().group_size, text_, sensitivity.has_value())) {
    if (!sensitivity) return;
    if (!text_.calibration.empty())
        calibration_.emplace(model, *std::move(sensitivity), text_.calibration, text_.prefix, text_.exact_first);
    if (!text_.importance.empty()) importance_.emplace(model, kSeed);
}

void TransformDecomposition::add_importance(int64_t batch) {
    const auto& all = text_.importance;
    const auto first = static_cast<size_t>(batch * kBatch), end = std::min(first + kBatch, all.size());
    importance_->add(*codec_,
                     {all.begin() + static_cast<std::ptrdiff_t>(first), all.begin() + static_cast<std::ptrdiff_t>(end)},
                     text_.prefix, text_.exact_first);
    if (end < all.size()) return;
    fit_.set_importance(importance_->finish());
    codec_.reset();
}

void TransformDecomposition::step() {
    if (next_ == plan_.size()) return;
    const Planned now = plan_[next_++];
    switch (now.stage) {
        case Stage::decompose:
            fit_.decompose(now.index);
            break;
        case Stage::begin_calibration:
        case Stage::begin_importance:
            codec_ = fit_.codec(ratio_);
            break;
        case Stage::calibrate:
            calibration_->step(*codec_);
            break;
        case Stage::weigh:
            fit_.set_sensitivity(calibration_->calibrated());
            break;
        case Stage::importance:
            add_importance(now.index);
            break;
    }
}

}  // namespace savepoint
