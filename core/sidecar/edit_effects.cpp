#include "core/sidecar/edit_effects.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>

#include "core/model/error.h"
#include "core/model/sampler.h"
#include "core/sidecar/evaluate.h"
#include "core/sidecar/latent_edit.h"

namespace savepoint {
namespace {

constexpr int64_t kBatch = 128;      // edits run at once
constexpr double kEditedWork = 200;  // of a token whose components are all moved, in tokens of the control

at::Tensor& part_of(Latent& z, LatentPart part) {
    return part == LatentPart::hidden ? z.hidden : part == LatentPart::key ? z.key : z.value;
}

// One token's z, once for each of `count` edits: memory of its own in `part`, shared in the others.
Latent repeated(const Latent& z, LatentPart part, int64_t count) {
    const auto all = [&](const at::Tensor& rows) { return rows.defined() ? rows.expand({count, -1, -1}) : rows; };
    Latent many{all(z.hidden), all(z.key), all(z.value), {}};
    part_of(many, part) = part_of(many, part).clone();
    return many;
}

// The hook's activation, [batch, 1, ..], in place of what the block computed.
void replace(Hooks& hooks, const std::string& name, const at::Tensor& rows) {
    hooks.add(name, [rows = rows.unsqueeze(1)](const at::Tensor&) { return rows; });
}

}  // namespace

int64_t SlotEffect::above() const {
    return std::count_if(effects.begin(), effects.end(), [&](double effect) { return effect > control_p95; });
}

EditEffects::EditEffects(const Transformer& model, std::shared_ptr<const Sidecar> sidecar,
                         std::vector<std::vector<TokenId>> sequences, EditEffectSettings settings)
    : model_(model),
      sidecar_(std::move(sidecar)),
      sequences_(std::move(sequences)),
      settings_(settings),
      cache_(model.make_cache(settings.most_past + 1)) {
    if (sidecar_->info().model_sha256 != model.weights().sha256())
        throw InputError("sidecar: it was fitted on another model");
    if (sequences_.size() < 2)
        throw InputError("sequences: two are needed, one for the controls and one for the edits");
    if (settings.control_tokens < 1 || settings.edited_tokens < 1) throw InputError("tokens: at least one of each");
    for (auto& ids : sequences_) {
        if (static_cast<int64_t>(ids.size()) <= sidecar_->info().exact_first_tokens)
            throw InputError("sequences: one of " + std::to_string(ids.size()) +
                             " tokens ends within the exact first ones");
        ids.resize(std::min(ids.size(), static_cast<size_t>(settings.most_past + 1)));
    }
    choose_places(0, sequences_.size() / 2, settings.control_tokens, false);
    choose_places(sequences_.size() / 2, sequences_.size(), settings.edited_tokens, true);
    const auto groups = static_cast<int64_t>(sidecar_->hidden().groups().size());
    const auto add = [&](LatentPart part, int64_t group, int64_t block, int64_t components) {
        slots_.push_back({part, group, block, {}, {}, at::zeros({components}, at::kDouble)});
    };
    for (int64_t g = 0; g < groups; ++g) add(LatentPart::hidden, g, -1, sidecar_->hidden().components(g));
    if (sidecar_->joint()) return;
    for (const LatentPart part : {LatentPart::key, LatentPart::value})
        for (int64_t block = 0; block < model.config().layers; ++block)
            add(part, sidecar_->group_of_block(block), block,
                part == LatentPart::key ? sidecar_->kv().key_components() : sidecar_->kv().value_components());
}

// Spread evenly over all the tokens that are not kept exact; of a sequence the last first, so that its cache is cut
// back.
void EditEffects::choose_places(size_t first, size_t end, int64_t tokens, bool edited) {
    std::vector<Place> all;
    for (size_t s = first; s < end; ++s)
        for (auto p = static_cast<int64_t>(sequences_[s].size()) - 1; p >= sidecar_->info().exact_first_tokens; --p)
            all.push_back({s, p, edited});
    const auto count = static_cast<int64_t>(all.size()), chosen = std::min(tokens, count);
    for (int64_t i = 0; i < chosen; ++i)
        places_.push_back(all[static_cast<size_t>((2 * i + 1) * count / (2 * chosen))]);
}

double EditEffects::progress() const {
    const auto edited = static_cast<double>(edited_), tokens = static_cast<double>(next_);
    const auto all_edited = static_cast<double>(
        std::count_if(places_.begin(), places_.end(), [](const Place& place) { return place.edited; }));
    return (tokens + edited * kEditedWork) / (static_cast<double>(places_.size()) + all_edited * kEditedWork);
}

void EditEffects::open(size_t sequence) {
    if (opened_ == sequence) return;
    ForwardOptions options;
    options.logits = Logits::none;
    cache_.truncate(0);
    rows_ = model_.prefill(cache_, sequences_[sequence], options).rows;
    opened_ = sequence;
}

void EditEffects::step() {
    const Place place = places_.at(next_);
    open(place.sequence);
    const StateRows saved = rows_.slice(place.position, 1);
    const Latent z = sidecar_->encode(saved);
    const at::Tensor exact = model_.unembed(saved.hidden[0][model_.config().layers - 1]);
    for (Slot& slot : slots_) {
        const at::Tensor control = place.edited ? logits(slot, place, z)[0] : decoded(slot, place, z);
        auto& errors = place.edited ? slot.control_of_edited : slot.control;
        errors.push_back(kl_divergence(exact, control).item<double>());
        if (place.edited) move_each(slot, place, z, control);
    }
    if (place.edited) ++edited_;
    ++next_;
}

// By the way the latent editor goes, one token on the kernels of a decode step.
at::Tensor EditEffects::decoded(const Slot& slot, const Place& place, const Latent& z) {
    TouchedGroup group{slot.group, slot.part == LatentPart::hidden, slot.part != LatentPart::hidden, {}};
    if (group.kv) group.blocks = {slot.block};
    const RowEdit edit = decode_row(*sidecar_, z, 0, place.position, {group});
    ForwardOptions options;
    options.capture = false;
    options.edit = &edit;
    cache_.truncate(place.position);
    const TokenId token = sequences_[place.sequence][static_cast<size_t>(place.position)];
    return model_.decode_from_saved(cache_, token, rows_.slice(place.position, 1), edit, options).logits[0];
}

void EditEffects::move_each(Slot& slot, const Place& place, const Latent& z, const at::Tensor& control) {
    const double move = edited_ % 2 == 0 ? settings_.move : -settings_.move;
    const int64_t row = slot.part == LatentPart::hidden ? slot.group : slot.block, components = slot.sum.size(0);
    const at::Tensor steps = move * deviation(slot).slice(0, 0, components);
    for (int64_t first = 0; first < components; first += kBatch) {
        const int64_t count = std::min(kBatch, components - first), end = first + count;
        Latent edited = repeated(z, slot.part, count);
        part_of(edited, slot.part).select(1, row).slice(1, first, end).diagonal().add_(steps.slice(0, first, end));
        slot.sum.slice(0, first, end) += kl_divergence(control, logits(slot, place, edited));
    }
}

at::Tensor EditEffects::deviation(const Slot& slot) const {
    if (slot.part == LatentPart::hidden) return sidecar_->hidden().component_std()[slot.group];
    return (slot.part == LatentPart::key ? sidecar_->kv().key_std() : sidecar_->kv().value_std())[slot.block];
}

// [edits, vocab], after the slot's D(z) took the place of the token's exact rows: a batch of the same blocks.
at::Tensor EditEffects::logits(const Slot& slot, const Place& place, const Latent& z) const {
    const StateRows past = rows_.slice(0, place.position);
    if (slot.part == LatentPart::hidden) {
        const at::Tensor group = sidecar_->hidden().decode_group(z.hidden, slot.group);
        const at::Tensor resid = group.select(1, group.size(1) - 1);
        const int64_t next = sidecar_->hidden().groups()[static_cast<size_t>(slot.group)].last_block + 1;
        if (next == model_.config().layers) return model_.unembed(resid);
        return model_.unembed(model_.run_blocks(resid.unsqueeze(1), next, past).select(1, 0));
    }
    const TokenId token = sequences_[place.sequence][static_cast<size_t>(place.position)];
    const at::Tensor read =
        slot.block == 0 ? model_.embed(std::span(&token, 1))[0] : rows_.hidden[place.position][slot.block - 1];
    const std::string attention = "blocks." + std::to_string(slot.block) + ".attn.";
    Hooks hooks;
    replace(hooks, attention + "hook_k", sidecar_->kv().decode_keys(z.key).select(1, slot.block));
    replace(hooks, attention + "hook_v", sidecar_->kv().decode_values(z.value).select(1, slot.block));
    const at::Tensor batch = read.expand({z.key.size(0), 1, model_.config().d_model});
    return model_.unembed(model_.run_blocks(batch, slot.block, past, &hooks).select(1, 0));
}

std::vector<SlotEffect> EditEffects::effects() const {
    std::vector<SlotEffect> out;
    for (const Slot& slot : slots_) {
        SlotEffect effect{slot.part, slot.group, slot.block, percentile_95(slot.control), NAN, {}};
        const at::Tensor mean = (slot.sum / static_cast<double>(std::max<int64_t>(edited_, 1))).contiguous();
        effect.effects.assign(mean.const_data_ptr<double>(), mean.const_data_ptr<double>() + mean.numel());
        const auto within = std::count_if(slot.control_of_edited.begin(), slot.control_of_edited.end(),
                                          [&](double error) { return error <= effect.control_p95; });
        if (edited_) effect.control_within = static_cast<double>(within) / static_cast<double>(edited_);
        out.push_back(std::move(effect));
    }
    return out;
}

}  // namespace savepoint
