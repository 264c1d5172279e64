#include "core/sidecar/metric_calibration.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <cmath>

namespace savepoint {

namespace {

constexpr int64_t kParts = 8;         // of the blocks; keys and values apart makes twice as many cells
constexpr double kLargestRatio = 16;  // of a cell's correction: few followers measure a small KL badly

std::vector<LayerGroup> parts(int64_t layers) { return layer_groups(layers, (layers + kParts - 1) / kParts); }

}  // namespace

int64_t MetricCalibration::steps(int64_t layers, int64_t sequences) {
    return sequences * static_cast<int64_t>(parts(layers).size());
}

MetricCalibration::MetricCalibration(const Transformer& model, Sensitivity sensitivity,
                                     std::vector<std::vector<TokenId>> sequences, int64_t prefix, int64_t exact_first)
    : model_(model),
      sensitivity_(std::move(sensitivity)),
      sequences_(std::move(sequences)),
      prefix_(prefix),
      exact_first_(exact_first) {
    for (const LayerGroup& blocks : parts(model.config().layers))
        for (const bool keys : {true, false}) cells_.push_back({blocks, keys});
}

void MetricCalibration::begin(const TransformCodec& codec) {
    const auto& ids = sequences_[static_cast<size_t>(next_) / (cells_.size() / 2)];
    ForwardOptions kept;
    kept.logits = Logits::none;
    const StateRows all = model_.forward_batch({ids}, kept).rows;
    exact_ = all.slice(0, prefix_);
    const int64_t count = prefix_ - exact_first_;
    const std::span<const TokenId> coded =
        std::span<const TokenId>(ids).subspan(static_cast<size_t>(exact_first_), static_cast<size_t>(count));
    const StateRows rows =
        codec.decode(codec.encode({exact_.slice(exact_first_, count), coded, exact_first_}), coded, exact_first_);
    decoded_ = {};
    decoded_.key = at::cat({exact_.key.slice(0, 0, exact_first_), rows.key});
    decoded_.value = at::cat({exact_.value.slice(0, 0, exact_first_), rows.value});
    const std::vector<TokenId> after(ids.begin() + static_cast<ptrdiff_t>(prefix_), ids.end());
    log_probs_ = at::log_softmax(model_.logits_after(exact_.key.unsqueeze(0), exact_.value.unsqueeze(0), {after}), -1);
}

double MetricCalibration::forecast(const Cell& cell) const {
    const int64_t width = model_.config().kv_dim(), from = cell.keys ? 0 : width;
    double sum = 0;
    for (int64_t block = cell.blocks.first_block; block <= cell.blocks.last_block; ++block) {
        const auto rows = [&](const StateRows& s) {
            return (cell.keys ? s.key : s.value).select(1, block).slice(0, exact_first_).flatten(1);
        };
        const at::Tensor d = rows(decoded_) - rows(exact_);
        const at::Tensor fisher = sensitivity_.fisher[block].slice(0, from, from + width).slice(1, from, from + width);
        sum += (at::matmul(d, fisher) * d).sum().item<double>() / static_cast<double>(d.size(0));
    }
    return sensitivity_.weight * sum;
}

void MetricCalibration::step(const TransformCodec& codec) {
    const at::NoGradGuard no_grad;
    const size_t pairs = cells_.size() / 2, pair = static_cast<size_t>(next_) % pairs;
    if (pair == 0) begin(codec);
    const auto& ids = sequences_[static_cast<size_t>(next_) / pairs];
    ++next_;
    std::vector<at::Tensor> keys, values;
    for (size_t i = 2 * pair; i < 2 * pair + 2; ++i) {
        Cell& cell = cells_[i];
        cell.forecast += forecast(cell);
        const auto with = [&](const at::Tensor& exact, const at::Tensor& decoded, bool replaced) {
            at::Tensor out = exact.clone();
            const int64_t first = cell.blocks.first_block, end = cell.blocks.last_block + 1;
            if (replaced) out.slice(1, first, end).copy_(decoded.slice(1, first, end));
            return out;
        };
        keys.push_back(with(exact_.key, decoded_.key, cell.keys));
        values.push_back(with(exact_.value, decoded_.value, !cell.keys));
    }
    const std::vector<TokenId> after(ids.begin() + static_cast<ptrdiff_t>(prefix_), ids.end());
    const at::Tensor q = at::log_softmax(model_.logits_after(at::stack(keys), at::stack(values), {after, after}), -1);
    const at::Tensor kl = (log_probs_.exp() * (log_probs_ - q)).sum(-1).clamp_min(0).mean(1);
    for (int64_t i = 0; i < 2; ++i) cells_[2 * pair + static_cast<size_t>(i)].measured += kl[i].item<double>();
}

Sensitivity MetricCalibration::calibrated() const {
    double foretold = 0, measured = 0;
    for (const Cell& cell : cells_) {
        foretold += cell.forecast;
        measured += cell.measured;
    }
    Sensitivity out = sensitivity_;
    if (!(foretold > 0 && measured > 0)) return out;
    const int64_t width = model_.config().kv_dim();
    std::vector<double> ratios;
    double kept = 0;
    for (const Cell& cell : cells_) {
        const double ratio = cell.forecast > 0 ? cell.measured / cell.forecast * foretold / measured : 1;
        ratios.push_back(std::clamp(ratio, 1 / kLargestRatio, kLargestRatio));
        kept += ratios.back() * cell.forecast;
    }
    at::Tensor roots = at::ones({model_.config().layers, 2 * width});
    for (size_t i = 0; i < cells_.size(); ++i) {
        const Cell& cell = cells_[i];
        const int64_t from = cell.keys ? 0 : width;
        roots.slice(0, cell.blocks.first_block, cell.blocks.last_block + 1)
            .slice(1, from, from + width)
            .fill_(std::sqrt(ratios[i] * foretold / kept));
    }
    out.fisher = sensitivity_.fisher * roots.unsqueeze(1) * roots.unsqueeze(2);
    return out;
}

}  // namespace savepoint
