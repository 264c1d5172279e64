#include "core/analysis/hedgehog_fit.h"

#include <ATen/ATen.h>

#include <cmath>
#include <limits>

#include "core/model/error.h"

namespace savepoint {

namespace {

constexpr double kDecayMean = 0.9, kDecaySquare = 0.99, kSmallest = 1e-8;

// [tokens, layers, heads, d] -> [layers, heads, tokens, d]
at::Tensor by_head(const at::Tensor& x) { return x.permute({1, 2, 0, 3}); }

// [layers, kv_heads, group, tokens, f] x [layers, kv_heads, tokens, f] -> [layers, kv_heads, group, tokens, tokens]
at::Tensor products(const at::Tensor& query, const at::Tensor& key) {
    return at::matmul(query, key.unsqueeze(2).transpose(3, 4));
}

at::Tensor grouped(const at::Tensor& by_head, int64_t kv_heads) {
    return by_head.unflatten(1, {kv_heads, by_head.size(1) / kv_heads});
}

at::Tensor future(int64_t tokens) { return at::ones({tokens, tokens}, at::kBool).triu(1); }

at::Tensor softmax_weights(const AttentionRun& run) {
    const at::Tensor q = grouped(by_head(run.query), run.key.size(2)), k = by_head(run.key);
    const double scale = 1 / std::sqrt(static_cast<double>(run.query.size(3)));
    const at::Tensor scores = products(q, k) * scale;
    return scores.masked_fill(future(run.query.size(0)), -std::numeric_limits<double>::infinity()).softmax(-1);
}

}  // namespace

HedgehogFit::HedgehogFit(const ModelConfig& config, PhiSettings settings, double rate)
    : settings_(settings), rate_(rate) {
    const auto start = [&](int64_t heads) {
        const int64_t d = config.head_dim;
        const at::Tensor one = at::eye(d, at::kFloat) * std::pow(static_cast<double>(d), -0.25);
        const at::Tensor value = one.expand({config.layers, heads, d, d}).contiguous();
        return Adam{value, at::zeros_like(value), at::zeros_like(value)};
    };
    query_ = start(config.heads);
    key_ = start(config.kv_heads);
}

double HedgehogFit::step(const AttentionRun& run) {
    if (!run.query.defined() || run.query.dim() != 4 || run.query.size(2) != query_.value.size(1) ||
        run.query.size(0) < 2)
        throw InputError("hedgehog: a run of at least two tokens of this model is needed");
    const at::Tensor target = softmax_weights(run);
    query_.value.set_requires_grad(true);
    key_.value.set_requires_grad(true);
    const at::Tensor q = hedgehog_logs(by_head(run.query), query_.value);
    const at::Tensor k = hedgehog_logs(by_head(run.key), key_.value);
    // The largest feature of a query, and of a head's keys, cancels in the weights.
    const at::Tensor phi_q = grouped((q - q.amax(-1, true)).exp(), run.key.size(2));
    const at::Tensor phi_k = (k - k.amax({2, 3}, true)).exp();
    const at::Tensor scores = products(phi_q, phi_k).masked_fill(future(run.query.size(0)), 0);
    const at::Tensor logs = scores.clamp_min(1e-30).log() - scores.sum(-1, true).clamp_min(1e-30).log();
    const auto sets = static_cast<double>(target.numel() / target.size(-1));
    const at::Tensor loss = -(target * logs).sum() / sets;
    // Every head has a loss of its own: its gradient is that of its own mean over tokens.
    (loss * static_cast<double>(query_.value.size(0) * query_.value.size(1))).backward();
    ++steps_;
    move(query_, rate_);
    move(key_, rate_);
    return loss.item<double>();
}

void HedgehogFit::move(Adam& parameter, double rate) const {
    const at::Tensor gradient = parameter.value.grad();
    parameter.mean = parameter.mean * kDecayMean + gradient * (1 - kDecayMean);
    parameter.square = parameter.square * kDecaySquare + gradient.square() * (1 - kDecaySquare);
    const double steps = static_cast<double>(steps_);
    const at::Tensor mean = parameter.mean / (1 - std::pow(kDecayMean, steps));
    const at::Tensor square = parameter.square / (1 - std::pow(kDecaySquare, steps));
    parameter.value = parameter.value.detach() - rate * mean / (square.sqrt() + kSmallest);
}

Phi HedgehogFit::finish() const {
    return Phi::hedgehog(settings_, query_.value.detach().clone(), key_.value.detach().clone());
}

double HedgehogFit::entropy(const AttentionRun& run) {
    const at::Tensor p = softmax_weights(run);
    return -(p * p.clamp_min(1e-30).log()).sum(-1).mean().item<double>();
}

}  // namespace savepoint
