#include "core/sidecar/network_trainer.h"

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>
#include <ATen/core/grad_mode.h>

#include <cmath>

#include "core/model/error.h"

namespace savepoint {

namespace {

at::Tensor rows_of(const at::Tensor& flat, int64_t batch, int64_t length) { return flat.view({batch, length, -1}); }

// Rows of each sequence from `first` on, over the flattened batch.
StateRows without_first(const StateRows& rows, int64_t batch, int64_t first) {
    const auto cut = [&](const at::Tensor& x) {
        if (!x.defined()) return x;
        return x.unflatten(0, {batch, -1}).slice(1, first).flatten(0, 1).contiguous();
    };
    return {cut(rows.hidden), cut(rows.key), cut(rows.value), {}};
}

// Of the token before: its last block's features, those of a sequence's first token the mean.
at::Tensor delayed_features(const TransformCodec::Group& group, const at::Tensor& x, int64_t batch, int64_t length,
                            int64_t width) {
    const at::Tensor last = x.slice(1, x.size(1) - width).view({batch, length, width});
    const at::Tensor mean = group.mean.slice(0, group.mean.size(0) - width).expand({batch, 1, width});
    return at::cat({mean, last.slice(1, 0, length - 1)}, 1).flatten(0, 1);
}

}  // namespace

struct NetworkTrainer::Coded {
    at::Tensor value;          // step exp(-s) z + n
    at::Tensor penalty, nats;  // R(z), and what coding z takes: [batch, tokens]
};

struct NetworkTrainer::Pass {
    at::Tensor loss;
    PassCost cost;
};

NetworkTrainer::NetworkTrainer(const Transformer& model, LearnedCodec::Parts parts,
                               std::shared_ptr<LatentNetwork> network, const TrainingSettings& settings)
    : model_(model),
      device_(model.device()),
      parts_(std::move(parts)),
      network_(std::move(network)),
      settings_(settings) {
    parts_.network = network_;
    parts_.transform = parts_.transform->on(device_);
    for (at::Tensor& deviation : parts_.deviation) deviation = deviation.to(device_);
    network_->to(device_);
    // The prior begins with the coefficients' own spread.
    for (size_t g = 0; g < network_->deviation().size(); ++g)
        network_->parameters().at("group." + std::to_string(g) + ".spread") =
            log_spread_of(network_->deviation()[g].clamp_min(0.145));
    for (auto& [name, value] : network_->parameters()) {
        value.set_requires_grad(true);  // what no gradient reaches, codebooks, stays as it is
        first_moments_[name] = at::zeros_like(value);
        second_moments_[name] = at::zeros_like(value);
    }
}

NetworkTrainer::Coded NetworkTrainer::code(size_t group, const at::Tensor& c, const LatentNetwork::Context& context,
                                           const at::Tensor& steps, at::Generator* noise) const {
    at::Tensor z = network_->encoded(group, context.expected.defined() ? c - context.expected : c, steps);
    if (steps.defined()) z = z / steps;
    at::Tensor spread = network_->log_spread(group);
    if (steps.defined()) spread = spread - steps.log();
    if (context.log_spread.defined()) spread = spread + context.log_spread;
    const RegularizedLatent latent =
        network_->in_words()
            ? in_words(group, z, noise)
            : regularized_latent(settings_.regularizer, z, spread, parts_.transform->rounding().dead_zone, noise);
    at::Tensor value = latent.z / network_->scale(group);
    if (steps.defined()) value = value * steps;
    if (context.expected.defined()) value = value + context.expected;
    return {value, latent.penalty, latent.nats};
}

// The gradient passes straight through the choice of words; R(z) is the commitment to them.
RegularizedLatent NetworkTrainer::in_words(size_t group, const at::Tensor& z, at::Generator* noise) const {
    ProductCodes codes = network_->codes(group);
    const at::Tensor rows = z.detach().flatten(0, 1).contiguous();
    if (noise && codes.counts.sum().item<double>() == 0) codes.learn(rows, codes.chosen(rows), *noise);
    const at::Tensor chosen = codes.chosen(rows), words = codes.values(chosen).view_as(z);
    const at::Tensor taken = codes.nats().gather(0, chosen).sum(1).view({z.size(0), z.size(1)});
    if (noise) codes.learn(rows, chosen, *noise);
    return {z + (words - z).detach(), (z - words).square().sum(-1), taken};
}

// Mean over the followers of KL(after the true cache || after the decoded one).
at::Tensor NetworkTrainer::divergence(const TrainingBatch& batch, const std::vector<at::Tensor>& blocks) const {
    const auto count = static_cast<int64_t>(batch.ids.size());
    const int64_t first = settings_.exact_first, length = settings_.prefix - first;
    std::vector<at::Tensor> keys, values, true_keys, true_values;
    std::vector<std::vector<TokenId>> after;
    for (int64_t i = 0; i < count; ++i) {
        const auto& ids = batch.ids[static_cast<size_t>(i)];
        std::vector<at::Tensor> own;
        for (const at::Tensor& block : blocks)
            own.push_back(block.slice(0, i * length, (i + 1) * length).to(at::kCPU));  // where the model's maps are
        const StateRows decoded = parts_.transform->features().rows(
            own, std::span(ids).subspan(static_cast<size_t>(first), static_cast<size_t>(length)));
        const StateRows exact = batch.rows.slice(i * settings_.prefix, settings_.prefix);
        true_keys.push_back(exact.key);
        true_values.push_back(exact.value);
        keys.push_back(at::cat({exact.key.slice(0, 0, first), decoded.key}));
        values.push_back(at::cat({exact.value.slice(0, 0, first), decoded.value}));
        after.emplace_back(ids.begin() + static_cast<ptrdiff_t>(settings_.prefix), ids.end());
    }
    at::Tensor p;
    {
        const at::NoGradGuard no_grad;
        p = at::log_softmax(model_.logits_after(at::stack(true_keys), at::stack(true_values), after), -1);
    }
    const at::Tensor q =
        at::log_softmax(model_.logits_after(at::stack(keys), at::stack(values), after, settings_.checkpointing), -1);
    return (p.exp() * (p - q)).sum(-1).mean();
}

// The decoder has what came before a token as the codec decoded it, and a pass over all tokens at once has not: it
// decodes once with exact states before every token, without a gradient, and takes that share of the tokens from there
// (parallel scheduled sampling, Duckworth et al. 2019).
at::Tensor NetworkTrainer::features_before(const at::Tensor& exact, double own_share, at::Generator* noise,
                                           const Decode& decode) const {
    if (own_share <= 0) return exact;
    const at::NoGradGuard no_grad;
    const at::Tensor own = decode(exact);
    if (!noise || own_share >= 1) return own;
    return at::where(at::rand({exact.size(0), 1}, *noise).to(device_) < own_share, own, exact);
}

NetworkTrainer::Pass NetworkTrainer::pass(const TrainingBatch& batch, size_t groups, bool with_kl, double own_share,
                                          at::Generator* noise) const {
    const TransformCodec& transform = *parts_.transform;
    const auto count = static_cast<int64_t>(batch.ids.size());
    const int64_t first = settings_.exact_first, length = settings_.prefix - first;
    const int64_t width = transform.features().width();
    const StateRows rows = without_first(batch.rows, count, first);
    std::vector<TokenId> tokens;
    for (const auto& ids : batch.ids) tokens.insert(tokens.end(), ids.begin() + first, ids.begin() + settings_.prefix);
    const at::Tensor embeddings = transform.features().embeddings(tokens).to(device_);
    BlockFeatures::Distinct distinct = transform.predicted_from(tokens);
    for (at::Tensor* part : {&distinct.embeddings, &distinct.which})
        if (part->defined()) *part = part->to(device_);
    const bool has_context = learned_context_size(network_->settings(), transform.features()) > 0;

    Pass pass;
    std::vector<at::Tensor> coefficients, values, hidden, linears, features, errors, penalties, rates, steps;
    at::Tensor below;
    const auto decode = [&](size_t g, const at::Tensor& c) {
        const at::Tensor error = c - coefficients[g];
        errors.push_back((steps[g].defined() ? error / steps[g] : error).square().sum(-1).mean());
        features.push_back(transform.group_features(transform.groups()[g], c.flatten(0, 1), linears[g]));
    };
    for (size_t g = 0; g < groups; ++g) {
        const auto& group = transform.groups()[g];
        const at::Tensor x = transform.features_of(group, rows).to(device_);
        linears.push_back(transform.prediction(group, distinct, below));
        coefficients.push_back(rows_of(transform.coefficients(group, x, linears[g]), count, length));
        const at::Tensor coarser = token_coarser(batch.coarser, g);
        steps.push_back(coarser.defined() ? rows_of(relative_steps(coarser).to(device_), count, length) : coarser);
        LatentNetwork::Context context;
        if (has_context) {
            const auto context_after = [&](const at::Tensor& features_before) {
                at::Tensor before;
                if (features_before.defined()) before = delayed_features(group, features_before, count, length, width);
                return network_->context(
                    g, rows_of(learned_context(parts_, g, embeddings, below, before), count, length), steps[g]);
            };
            at::Tensor before;
            if (network_->settings().recurrent)
                before = features_before(x, own_share, noise, [&](const at::Tensor& exact) {
                    const auto seen = context_after(exact);
                    const at::Tensor v = code(g, coefficients[g], seen, steps[g], nullptr).value;
                    const at::Tensor c = network_->decoded(g, v, seen.hidden, steps[g]);
                    return transform.group_features(group, c.flatten(0, 1), linears[g]);
                });
            context = context_after(before);
        }
        const Coded coded = code(g, coefficients[g], context, steps.back(), noise);
        penalties.push_back(coded.penalty.mean());
        rates.push_back(coded.nats.mean());
        values.push_back(coded.value);
        hidden.push_back(context.hidden);
        if (network_->unified()) continue;
        decode(g, network_->decoded(g, coded.value, context.hidden, steps.back()));
        if (network_->settings().from_below) below = features.back().detach().slice(1, features.back().size(1) - width);
    }
    if (network_->unified()) {
        values = network_->decoded_together(values, steps);
        for (size_t g = 0; g < groups; ++g) decode(g, values[g]);
    }
    const at::Tensor distortion = at::stack(errors).sum(), rate = at::stack(rates).sum();
    pass.loss = distortion + settings_.lambda_rate * at::stack(penalties).sum();
    pass.cost.kl = NAN;
    if (with_kl) {
        std::vector<at::Tensor> blocks;
        for (const at::Tensor& x : features)
            for (int64_t at = 0; at < x.size(1); at += width) blocks.push_back(x.slice(1, at, at + width));
        const at::Tensor kl = divergence(batch, blocks);
        pass.cost.kl = kl.item<double>();
        pass.loss = pass.loss + settings_.lambda_kl * kl_scale_ * kl;
    }
    pass.cost.loss = pass.loss.item<double>();
    pass.cost.distortion = distortion.item<double>();
    pass.cost.bits = rate.item<double>() / std::log(2.0);
    for (const at::Tensor& r : rates) pass.cost.group_bits.push_back(r.item<double>() / std::log(2.0));
    return pass;
}

PassCost NetworkTrainer::add_gradient(const TrainingBatch& batch, size_t groups, bool with_kl, double own_share,
                                      uint64_t noise_seed) {
    at::Generator noise = at::detail::createCPUGenerator(noise_seed);
    Pass made = pass(batch, groups, with_kl, own_share, &noise);
    if (!std::isfinite(made.cost.loss))
        throw InputError("training: the loss is not finite; a lower learning_rate may help");
    made.loss.backward();
    ++gradients_;
    return made.cost;
}

void NetworkTrainer::step(double learning_rate) {
    if (gradients_ == 0) return;
    const at::NoGradGuard no_grad;
    ++steps_;
    double square = 0;
    for (auto& [name, value] : network_->parameters())
        if (value.grad().defined()) square += value.grad().square().sum().item<double>();
    const double scale = std::min(1.0, settings_.clip * static_cast<double>(gradients_) / (std::sqrt(square) + 1e-12)) /
                         static_cast<double>(gradients_);
    for (const bool matrices : {true, false}) {
        std::vector<at::Tensor> values, gradients, first, second, steps;
        for (auto& [name, value] : network_->parameters()) {
            if (!value.grad().defined() || (value.dim() == 2) != matrices) continue;
            values.push_back(value.detach());
            gradients.push_back(value.grad() * scale);
            first.push_back(first_moments_.at(name));
            second.push_back(second_moments_.at(name));
            steps.push_back(at::scalar_tensor(steps_, value.options()));
        }
        if (values.empty()) continue;
        at::_fused_adamw_(values, gradients, first, second, {}, steps, learning_rate, 0.9, 0.98,
                          matrices ? settings_.weight_decay : 0.0, 1e-8, false, false);
    }
    for (auto& [name, value] : network_->parameters()) value.mutable_grad() = at::Tensor();
    gradients_ = 0;
}

double NetworkTrainer::words_used() const {
    if (!network_->in_words()) return NAN;
    double sum = 0;
    const size_t groups = parts_.transform->groups().size();
    for (size_t g = 0; g < groups; ++g) sum += network_->codes(g).words_used();
    return sum / static_cast<double>(groups);
}

PassCost NetworkTrainer::look(const TrainingBatch& batch) const {
    const at::NoGradGuard no_grad;
    return pass(batch, parts_.transform->groups().size(), parts_.transform->part() != CodedPart::hidden, 1, nullptr)
        .cost;
}

Parameters NetworkTrainer::snapshot() const {
    Parameters copies;
    for (const auto& [name, value] : network_->parameters()) copies[name] = value.detach().clone();
    return copies;
}

void NetworkTrainer::restore(const Parameters& parameters) {
    const at::NoGradGuard no_grad;
    for (auto& [name, value] : network_->parameters()) value.copy_(parameters.at(name));
}

std::shared_ptr<const LatentNetwork> NetworkTrainer::as_stored() const {
    auto copy = std::make_shared<LatentNetwork>(*network_);
    copy->to(at::kCPU);
    for (auto& [name, value] : copy->parameters()) value = value.to(at::kHalf).to(at::kFloat);
    return copy;
}

void NetworkTrainer::save(TensorFile& file) const {
    for (const auto& [name, value] : network_->parameters()) {
        file.tensors["parameter." + name] = value.detach().cpu().clone();
        file.tensors["first." + name] = first_moments_.at(name).cpu().clone();
        file.tensors["second." + name] = second_moments_.at(name).cpu().clone();
    }
    file.tensors["steps"] = at::full({1}, steps_, at::kFloat);
    file.tensors["kl_scale"] = at::full({1}, kl_scale_, at::kFloat);
}

void NetworkTrainer::load(const TensorFields& fields) {
    const at::NoGradGuard no_grad;
    for (auto& [name, value] : network_->parameters()) {
        const std::vector<int64_t> shape = value.sizes().vec();
        value.copy_(fields.tensor("parameter." + name, shape));
        first_moments_.at(name).copy_(fields.tensor("first." + name, shape));
        second_moments_.at(name).copy_(fields.tensor("second." + name, shape));
    }
    steps_ = fields.tensor("steps", {1}).item<double>();
    kl_scale_ = fields.tensor("kl_scale", {1}).item<double>();
}

}  // namespace savepoint
