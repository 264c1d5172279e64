#include "core/analysis/fit_figures.h"

#include <ATen/ATen.h>

namespace savepoint {

void FitFigures::add(const ReconstructionError& error) {
    if (error.tokens - error.first_tokens < 2) return;  // nothing varies
    const auto sum = [](at::Tensor& total, const at::Tensor& part) { total = total.defined() ? total + part : part; };
    sum(hidden_, error.hidden_fvu);
    sum(key_, error.key_fvu.mean());
    sum(value_, error.value_fvu.mean());
    ++measured_;
    tokens_ += error.tokens;
}

nlohmann::json FitFigures::described() const {
    nlohmann::json out = nlohmann::json::object();
    if (measured_ > 0) describe_reconstruction(out);
    if (!resumed_.empty()) describe_resuming(out);
    return out;
}

void FitFigures::describe_reconstruction(nlohmann::json& out) const {
    const at::Tensor layers = (hidden_ / static_cast<double>(measured_)).contiguous();
    const double* each = layers.const_data_ptr<double>();
    out["held_out_tokens"] = tokens_;
    out["hidden_fvu"] = layers.mean().item<double>();
    out["hidden_fvu_layers"] = std::vector<double>(each, each + layers.numel());
    out["key_fvu"] = key_.item<double>() / static_cast<double>(measured_);
    out["value_fvu"] = value_.item<double>() / static_cast<double>(measured_);
}

void FitFigures::describe_resuming(nlohmann::json& out) const {
    const auto mean = [&](double ResumeFidelity::*field) {
        double total = 0;
        for (const ResumeFidelity& one : resumed_) total += one.*field;
        return total / static_cast<double>(resumed_.size());
    };
    int64_t tokens = 0;
    for (const ResumeFidelity& one : resumed_) tokens += one.tokens;
    out["resumed_prefix"] = resumed_[0].prefix;
    out["resumed_tokens"] = tokens;
    out["kl_nats"] = mean(&ResumeFidelity::kl_nats);
    out["kl_p95"] = mean(&ResumeFidelity::kl_p95);
    out["top1_agreement"] = mean(&ResumeFidelity::top1_agreement);
    out["delta_nll"] = mean(&ResumeFidelity::delta_nll);
}

}  // namespace savepoint
