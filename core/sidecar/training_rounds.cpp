#include "core/sidecar/training_rounds.h"

#include <ATen/ATen.h>

#include <cmath>
#include <utility>

#include "core/sidecar/coded_run.h"
#include "core/sidecar/noise.h"

namespace savepoint {

TrainingRounds::TrainingRounds(const Transformer& model, LearnedCodec::Parts parts,
                               std::shared_ptr<LatentNetwork> network, const TrainingText& text,
                               const TrainingSettings& settings)
    : model_(model),
      parts_(parts),
      network_(network),
      text_(text),
      settings_(settings),
      trainer_(model, std::move(parts), std::move(network), settings) {}

// --- schedules ----------------------------------------------------------------------------------------------

bool TrainingRounds::with_kl() const {
    const auto plain =
        static_cast<int64_t>(std::lround((1 - settings_.kl_share) * static_cast<double>(settings_.rounds)));
    // Without corrections what is decoded does not depend on the networks, but for where cells end.
    return settings_.lambda_kl > 0 && settings_.codec.part != "hidden" && settings_.codec.corrections() &&
           progress_.round >= plain;
}

size_t TrainingRounds::active_groups() const {
    const size_t all = parts_.transform->groups().size();
    if (network_->unified() || progress_.round >= settings_.progressive_rounds) return all;
    return std::max<size_t>(
        1, all * static_cast<size_t>(progress_.round + 1) / static_cast<size_t>(settings_.progressive_rounds));
}

double TrainingRounds::learning_rate() const {
    if (progress_.round < settings_.warmup_rounds)
        return settings_.learning_rate * static_cast<double>(progress_.round + 1) /
               static_cast<double>(settings_.warmup_rounds);
    const double t = static_cast<double>(progress_.round) / static_cast<double>(settings_.rounds);
    return settings_.learning_rate * (0.05 + 0.95 * 0.5 * (1 + std::cos(M_PI * std::min(t, 1.0))));
}

// --- a round ------------------------------------------------------------------------------------------------

std::vector<std::function<void()>> TrainingRounds::next_round() {
    held_.clear();
    sums_ = {};
    sums_.kl = 0;
    std::vector<std::function<void()>> steps;
    if (with_kl() && trainer_.kl_scale() == 0) steps.push_back([this] { weigh_kl(); });
    for (size_t batch = 0; batch < batches(); ++batch) steps.push_back([=, this] { hold(batch); });
    for (size_t pass = 0; pass < 2 * batches(); ++pass) steps.push_back([=, this] { learn(pass); });
    steps.push_back([this] { end_round(); });
    return steps;
}

TrainingBatch TrainingRounds::run(std::vector<std::vector<TokenId>> ids) const {
    std::vector<std::vector<TokenId>> prefixes;
    for (const auto& one : ids) prefixes.emplace_back(one.begin(), one.begin() + settings_.prefix);
    ForwardOptions kept;
    kept.logits = Logits::none;
    TrainingBatch batch{std::move(ids), model_.forward_batch(prefixes, kept).rows, {}};
    if (const TokenImportance* importance = parts_.transform->importance()) {
        std::vector<at::Tensor> coarser;
        for (size_t i = 0; i < prefixes.size(); ++i) {
            const StateRows own = batch.rows.slice(static_cast<int64_t>(i) * settings_.prefix, settings_.prefix);
            coarser.push_back(importance->coarser(coded_run(model_, own, prefixes[i], settings_.exact_first)));
        }
        batch.coarser = at::cat(coarser);
    }
    return batch;
}

void TrainingRounds::hold(size_t batch) {
    const int64_t first =
        progress_.round * settings_.sequences_per_round + static_cast<int64_t>(batch) * settings_.batch;
    std::vector<std::vector<TokenId>> ids;
    for (int64_t i = 0; i < settings_.batch; ++i) ids.push_back(text_.sequence(first + i));
    held_.push_back(run(std::move(ids)));
}

void TrainingRounds::learn(size_t pass) {
    const double own_share =
        settings_.own_share * static_cast<double>(progress_.round) / static_cast<double>(settings_.rounds);
    const PassCost cost = trainer_.add_gradient(
        held_[pass % held_.size()], active_groups(), with_kl(), own_share,
        mixed({settings_.seed, static_cast<uint64_t>(progress_.round), static_cast<uint64_t>(pass)}));
    if ((pass + 1) % static_cast<size_t>(settings_.accumulate) == 0 || pass + 1 == 2 * held_.size())
        trainer_.step(learning_rate());
    sums_.loss += cost.loss;
    sums_.distortion += cost.distortion;
    sums_.rate_bits += cost.bits;
    sums_.kl += cost.kl;
}

void TrainingRounds::end_round() {
    const auto passes = static_cast<double>(2 * held_.size());
    TrainingPoint point;
    point.round = progress_.round;
    point.loss = sums_.loss / passes;
    point.distortion = sums_.distortion / passes;
    point.rate_bits = sums_.rate_bits / passes;
    point.kl = sums_.kl / passes;
    point.learning_rate = learning_rate();
    held_.clear();
    ++progress_.round;
    if (progress_.round % settings_.validate_every == 0 || progress_.round == settings_.rounds) look(point);
    progress_.curve.push_back(point);
}

// --- held-out text ------------------------------------------------------------------------------------------

// Mean over the sequences kept for looking.
PassCost TrainingRounds::looked() {
    if (look_batches_.empty())
        for (const auto& ids : text_.looks) look_batches_.push_back(run({ids}));
    PassCost mean;
    mean.group_bits.assign(parts_.transform->groups().size(), 0);
    const auto n = static_cast<double>(look_batches_.size());
    for (const TrainingBatch& batch : look_batches_) {
        const PassCost cost = trainer_.look(batch);
        mean.distortion += cost.distortion / n;
        mean.bits += cost.bits / n;
        mean.kl += cost.kl / n;
        for (size_t g = 0; g < cost.group_bits.size(); ++g) mean.group_bits[g] += cost.group_bits[g] / n;
    }
    return mean;
}

// The KL term comes on with the weight that the squared error has by then.
void TrainingRounds::weigh_kl() {
    const PassCost cost = looked();
    trainer_.set_kl_scale(cost.distortion / cost.kl);
}

void TrainingRounds::look(TrainingPoint& point) {
    const PassCost mean = looked();
    const double rate = settings_.lambda_rate * mean.bits * std::log(2.0);
    point.held_out_loss = mean.distortion + rate;
    point.held_out_bits = mean.bits;
    point.held_out_kl = mean.kl;
    point.group_bits = mean.group_bits;
    point.words_used = trainer_.words_used();
    // Held-out KL decides, where there is one: at equal bytes, for it falls with about their square.
    const double judged_by = std::isfinite(mean.kl) ? mean.kl * mean.bits * mean.bits : point.held_out_loss;
    if (judged_by < progress_.best_score) {
        progress_.best_score = judged_by;
        best_ = trainer_.snapshot();
        progress_.worse = 0;
    } else if (++progress_.worse >= settings_.patience) {
        enough_ = true;
    }
}

void TrainingRounds::restore_best() {
    if (!best_.empty()) trainer_.restore(best_);
}

// --- checkpoints --------------------------------------------------------------------------------------------

void TrainingRounds::save(TensorFile& file) const {
    trainer_.save(file);
    for (const auto& [name, value] : best_) file.tensors["best." + name] = value;
}

void TrainingRounds::load(const TensorFields& fields, TrainingProgress progress) {
    trainer_.load(fields);
    progress_ = std::move(progress);
    best_.clear();
    if (std::isfinite(progress_.best_score))
        for (const auto& [name, value] : network_->parameters())
            best_[name] = fields.tensor("best." + name, value.sizes().vec()).to(at::kFloat);
}

}  // namespace savepoint
