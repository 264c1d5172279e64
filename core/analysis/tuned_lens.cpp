#include <ATen/ATen.h>

#include <algorithm>

#include "core/analysis/lens.h"
#include "core/model/device.h"
#include "core/model/error.h"
#include "core/sidecar/fit.h"
#include "core/sidecar/reference_text.h"
#include "core/sidecar/tensor_fields.h"
#include "core/state/safetensors.h"

namespace savepoint {
namespace {

constexpr int64_t kSinks = 4;   // first tokens left out: their massive activations are like no other token's
constexpr int64_t kPiece = 64;  // tokens whose logits are held at once: of fewer, reading the head takes longer
constexpr int64_t kLength = 128;
constexpr uint64_t kSeed = 11;
constexpr const char* kFormat = "savepoint-tuned-lens";

at::Tensor over_rms(const at::Tensor& x) { return x / x.square().mean(-1, true).add_(1e-12).sqrt_(); }

at::Tensor run_states(const Transformer& model, const std::vector<TokenId>& sequence) {
    KvCache cache = model.make_cache(static_cast<int64_t>(sequence.size()));
    ForwardOptions options;
    options.logits = Logits::none;
    return model.prefill(cache, sequence, options)
        .rows.hidden.narrow(0, kSinks, static_cast<int64_t>(sequence.size()) - kSinks);
}

}  // namespace

at::Tensor TunedLens::apply(const at::Tensor& resid, int64_t layer) const {
    return at::matmul(over_rms(resid), weight_[layer]) + bias_[layer];
}

void TunedLens::save(const std::string& path, const std::string& model_sha256) const {
    TensorFile file;
    file.tensors = {{"weight", weight_},
                    {"bias", bias_},
                    {"kl_logit", at::tensor(figures_.kl_logit)},
                    {"kl_tuned", at::tensor(figures_.kl_tuned)}};
    file.metadata = {{"format", kFormat},
                     {"model_sha256", model_sha256},
                     {"fitted_tokens", std::to_string(figures_.fitted_tokens)},
                     {"held_out_tokens", std::to_string(figures_.held_out_tokens)}};
    file.metadata["digest"] = content_digest(file);
    write_safetensors(path, file);
}

std::shared_ptr<const TunedLens> TunedLens::load(const std::string& path, const ModelConfig& config,
                                                 const std::string& model_sha256) {
    const TensorFile file = read_safetensors(path);
    const auto entry = [&](const char* key) {
        const auto found = file.metadata.find(key);
        return found == file.metadata.end() ? std::string() : found->second;
    };
    if (entry("format") != kFormat) throw FileError(path, "is not a tuned lens; fit it again");
    check_digest(file, path);
    if (entry("model_sha256") != model_sha256)
        throw FileError(path, "was fitted on another model; fit it for this one");
    const nlohmann::json none = nlohmann::json::object();
    const TensorFields fields(file, none, "", path);
    auto lens = std::make_shared<TunedLens>();
    lens->weight_ = fields.tensor("weight", {config.layers, config.d_model, config.d_model});
    lens->bias_ = fields.tensor("bias", {config.layers, config.d_model});
    const auto figures = [&](const char* name) {
        const at::Tensor values = fields.tensor(name, {config.layers}).contiguous();
        return std::vector<float>(values.data_ptr<float>(), values.data_ptr<float>() + values.numel());
    };
    lens->figures_.kl_logit = figures("kl_logit");
    lens->figures_.kl_tuned = figures("kl_tuned");
    lens->figures_.fitted_tokens = std::atoll(entry("fitted_tokens").c_str());
    lens->figures_.held_out_tokens = std::atoll(entry("held_out_tokens").c_str());
    return lens;
}

TunedLensFit::TunedLensFit(const Transformer& model, std::vector<std::vector<TokenId>> fit,
                           std::vector<std::vector<TokenId>> held_out, int64_t judged_every, double ridge)
    : model_(model),
      fit_(std::move(fit)),
      held_out_(std::move(held_out)),
      judged_every_(std::max<int64_t>(judged_every, 1)),
      ridge_(ridge) {
    const ModelConfig& c = model.config();
    int64_t tokens = 0;
    for (const auto* part : {&fit_, &held_out_})
        for (const auto& sequence : *part)
            if (static_cast<int64_t>(sequence.size()) <= kSinks + 8)
                throw InputError("tuned lens: sequences of more than 12 tokens are needed");
    for (const auto& sequence : fit_) tokens += static_cast<int64_t>(sequence.size()) - kSinks;
    if (tokens <= c.d_model || held_out_.empty())
        throw InputError("tuned lens: " + std::to_string(tokens) + " tokens to fit on; more than " +
                         std::to_string(c.d_model) + " are needed, and some text held out");
    squares_ = at::zeros({c.layers, c.d_model + 1, c.d_model + 1}, at::kDouble);
    products_ = at::zeros({c.layers, c.d_model + 1, c.d_model}, at::kDouble);
    lens_->weight_ = at::eye(c.d_model).repeat({c.layers, 1, 1});
    lens_->bias_ = at::zeros({c.layers, c.d_model});
    lens_->figures_.kl_logit.assign(static_cast<size_t>(c.layers), 0);
    lens_->figures_.kl_tuned = lens_->figures_.kl_logit;
    sum_logit_ = sum_tuned_ = std::vector<double>(static_cast<size_t>(c.layers), 0);
}

bool TunedLensFit::step() {
    if (next_fit_ < fit_.size()) {
        add(fit_[next_fit_++]);
        return true;
    }
    if (next_held_out_ < held_out_.size()) {
        keep(held_out_[next_held_out_++]);
        return true;
    }
    const int64_t layers = model_.config().layers;
    if (next_layer_ < layers) {
        solve(next_layer_++);
        return true;
    }
    if (next_judged_ < pieces() * layers) {
        judge(next_judged_ / layers, next_judged_ % layers);
        ++next_judged_;
    }
    return next_judged_ < pieces() * layers;
}

int64_t TunedLensFit::pieces() const {
    int64_t tokens = 0;
    for (const auto& sequence : held_out_)
        tokens += (static_cast<int64_t>(sequence.size()) - kSinks + judged_every_ - 1) / judged_every_;
    return (tokens + kPiece - 1) / kPiece;
}

void TunedLensFit::add(const std::vector<TokenId>& sequence) {
    const at::Tensor states = over_rms(run_states(model_, sequence));
    const int64_t last = states.size(1) - 1, tokens = states.size(0);
    const at::Tensor y = states.select(1, last);
    for (int64_t layer = 0; layer <= last; ++layer) {
        const at::Tensor x = at::cat({states.select(1, layer), at::ones({tokens, 1})}, 1);
        squares_[layer].add_(at::matmul(x.t(), x));
        products_[layer].add_(at::matmul(x.t(), y - states.select(1, layer)));
    }
    tokens_ += tokens;
}

void TunedLensFit::keep(const std::vector<TokenId>& sequence) {
    const at::Tensor states = run_states(model_, sequence);
    kept_.push_back(states.index_select(0, at::arange(0, states.size(0), judged_every_)).clone());
}

void TunedLensFit::solve(int64_t layer) {
    const int64_t d = model_.config().d_model;
    at::Tensor ridge = at::full({d + 1}, ridge_ * static_cast<double>(tokens_), at::kDouble);
    ridge[d] = 1e-9 * static_cast<double>(tokens_);  // the bias is free
    const at::Tensor left = squares_[layer] + at::diag(ridge);
    const at::Tensor solution = at::cholesky_solve(products_[layer], std::get<0>(at::linalg_cholesky_ex(left)));
    lens_->weight_[layer].add_(solution.narrow(0, 0, d).to(at::kFloat));
    lens_->bias_[layer].copy_(solution[d].to(at::kFloat));
}

at::Tensor TunedLensFit::quick_logits(const at::Tensor& resid, bool exact) {
    const Weights& weights = model_.weights();
    const at::Tensor scale = (resid.square().mean(-1, true) + model_.config().norm_eps).rsqrt();
    const at::Tensor normed = resid * scale * weights.tensor("final_norm");
    const at::Tensor& head = weights.tensor(weights.has("head") ? "head" : "embed");
    if (exact || !multiplies_bfloat16()) return at::linear(normed, head);
    if (!short_head_.defined()) short_head_ = head.to(at::kBFloat16);
    return at::linear(normed.to(at::kBFloat16), short_head_).to(at::kFloat);
}

void TunedLensFit::judge(int64_t piece, int64_t layer) {
    const int64_t last = model_.config().layers - 1;
    const at::Tensor states = kept_.size() == 1 ? kept_.front() : at::cat(kept_);
    if (kept_.size() > 1) kept_ = {states};
    const at::Tensor some = states.slice(0, piece * kPiece, std::min((piece + 1) * kPiece, states.size(0)));
    if (layer == 0) {
        const at::Tensor log_p = at::log_softmax(model_.unembed(some.select(1, last).contiguous()), -1);
        final_ = log_p.exp();
        final_entropy_ = -(final_ * log_p).sum(-1);
    }
    const at::Tensor here = some.select(1, layer);
    const at::Tensor logits = quick_logits(at::stack({here, lens_->apply(here, layer)}), /*exact=*/layer == last);
    // KL(p || q) of each token: log sum exp(l) - p l - H(p), l the logits of q.
    const at::Tensor kl = (at::logsumexp(logits, -1) - (final_ * logits).sum(-1) - final_entropy_).clamp_min(0);
    const at::Tensor sums = kl.sum(-1, false, at::kDouble);
    const auto at = static_cast<size_t>(layer);
    sum_logit_[at] += sums[0].item<double>();
    sum_tuned_[at] += sums[1].item<double>();
    const auto judged = static_cast<double>(states.size(0));
    lens_->figures_.kl_logit[at] = static_cast<float>(sum_logit_[at] / judged);
    lens_->figures_.kl_tuned[at] = static_cast<float>(sum_tuned_[at] / judged);
    lens_->figures_.fitted_tokens = tokens_;
    lens_->figures_.held_out_tokens = states.size(0);
}

double TunedLensFit::progress() const {
    const auto share = [](double done, double all) { return all > 0 ? done / all : 1; };
    const auto layers = static_cast<double>(model_.config().layers);
    return 0.6 * share(static_cast<double>(next_fit_ + next_held_out_),
                       static_cast<double>(fit_.size() + held_out_.size())) +
           0.1 * share(static_cast<double>(next_layer_), layers) +
           0.3 * share(static_cast<double>(next_judged_), static_cast<double>(pieces()) * layers);
}

std::string TunedLensFit::stage() const {
    const std::string of = " of " + std::to_string(model_.config().layers);
    if (next_fit_ < fit_.size()) return "text " + std::to_string(next_fit_ + 1) + " of " + std::to_string(fit_.size());
    if (next_held_out_ < held_out_.size()) return "held-out text";
    if (next_layer_ < model_.config().layers) return "fitting layer " + std::to_string(next_layer_ + 1) + of;
    const int64_t layer = next_judged_ % model_.config().layers;
    return "judging layer " + std::to_string(layer + 1) + of;
}

std::shared_ptr<const TunedLens> TunedLensFit::result() const {
    if (next_judged_ < pieces() * model_.config().layers) throw InputError("tuned lens: it is not fitted yet");
    return lens_;
}

LensText lens_text(const Tokenizer& tokenizer, int64_t fit_tokens, int64_t held_out_tokens) {
    TokenSplit split = split_corpus(fortunes_corpus(), tokenizer, kLength, fit_tokens, held_out_tokens, kSeed);
    lay_out_as_reference_text(tokenizer, split.fit);
    lay_out_as_reference_text(tokenizer, split.held_out);
    return {std::move(split.fit), std::move(split.held_out)};
}

}  // namespace savepoint
