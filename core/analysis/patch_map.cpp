#include "core/analysis/patch_map.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "core/model/error.h"
#include "core/model/sampler.h"

namespace savepoint {

PatchTarget default_target(const at::Tensor& source_logits, const at::Tensor& destination_logits) {
    const TokenId target = source_logits.argmax().item<TokenId>();
    at::Tensor preferred = at::softmax(destination_logits, 0) - at::softmax(source_logits, 0);
    preferred[target] = -1;
    return {target, preferred.argmax().item<TokenId>()};
}

PatchScore patch_score(const at::Tensor& source_logits, const at::Tensor& logits, const PatchTarget& target) {
    return {(logits[target.target] - logits[target.distractor]).item<float>(),
            kl_divergence(source_logits, logits).item<float>()};
}

PatchMap::PatchMap(const Patching& patching, PatchSettings settings, PatchTarget target)
    : patching_(patching),
      settings_(std::move(settings)),
      target_(target),
      layers_(patching.model().config().layers),
      heads_(patching.model().config().heads) {
    const int64_t vocab = patching.source_logits().size(0);
    for (const TokenId id : {target.target, target.distractor})
        if (id < 0 || id >= vocab)
            throw InputError("patching: token id " + std::to_string(id) + " is not in the vocabulary");
    if (target.target == target.distractor)
        throw InputError("patching: target and distractor are the same token; choose two");
    source_ = patch_score(patching.source_logits(), patching.source_logits(), target);
    destination_ = patch_score(patching.source_logits(), patching.destination_logits(), target);
    if (settings_.head_pair >= patching_.usable_pairs())
        throw InputError("patching: aligned token " + std::to_string(settings_.head_pair) +
                         " is not before the outcome");
    if (settings_.head_layer >= layers_)
        throw InputError("patching: the model has no layer " + std::to_string(settings_.head_layer));
    for (const PatchSite site : settings_.sites)
        add_map(site, -1, layers_, site == PatchSite::head ? heads_ : patching.usable_pairs());
    if (settings_.head_layer >= 0) add_map(PatchSite::head, settings_.head_layer, heads_, patching.usable_pairs());
    for (const Job& job : jobs_) cost_all_ += job.cost;
}

void PatchMap::add_map(PatchSite site, int64_t head_layer, int64_t rows, int64_t columns) {
    PatchScores scores;
    scores.site = site, scores.head_layer = head_layer;
    scores.rows = rows, scores.columns = columns;
    scores.logit_difference.assign(static_cast<size_t>(rows * columns), NAN);
    scores.kl = scores.logit_difference;
    maps_.push_back(std::move(scores));
    plan(maps_.size() - 1);
}

// Cells of one layer and neighbouring tokens share a batch, so that little is run that nothing changes.
void PatchMap::plan(size_t map) {
    const int64_t head_layer = maps_[map].head_layer;
    if (head_layer >= 0) return plan_layer(map, head_layer);
    for (int64_t layer = 0; layer < layers_; ++layer) plan_layer(map, layer);
}

void PatchMap::plan_layer(size_t map, int64_t layer) {
    const PatchSite site = maps_[map].site;
    if (!maps_[map].of_pairs()) {
        std::vector<int64_t> pairs{settings_.head_pair};
        if (settings_.head_pair < 0) {
            pairs.resize(static_cast<size_t>(patching_.usable_pairs()));
            std::iota(pairs.begin(), pairs.end(), 0);
        }
        for (int64_t head = 0; head < heads_; ++head) add(map, {site, layer, head, pairs}, layer, head);
    } else {
        for (int64_t pair = settings_.first_pair; pair < patching_.usable_pairs(); ++pair) {
            if (site != PatchSite::head) add(map, {site, layer, -1, {pair}}, layer, pair);
            for (int64_t head = 0; site == PatchSite::head && head < heads_; ++head)
                add(map, {site, layer, head, {pair}}, head, pair);
        }
    }
    if (open_) jobs_.push_back(std::move(*open_));
    open_.reset();
}

void PatchMap::add(size_t map, PatchCell cell, int64_t row, int64_t column) {
    const auto at = static_cast<size_t>(row * maps_[map].columns + column);
    // The first tokens of a path often do not differ: a batch begins where something does.
    const auto pair_differs = [&](int64_t pair) {
        PatchCell one = cell;
        one.pairs = {pair};
        return patching_.differs(one);
    };
    cell.pairs.erase(cell.pairs.begin(), std::find_if(cell.pairs.begin(), cell.pairs.end(), pair_differs));
    if (cell.pairs.empty()) {
        maps_[map].logit_difference[at] = destination_.logit_difference;
        maps_[map].kl[at] = destination_.kl;
        return;
    }
    const int64_t tokens =
        std::max(open_ ? open_->cost / static_cast<int64_t>(open_->cells.size()) : 0, patching_.tokens_run(cell));
    if (open_ && tokens * static_cast<int64_t>(open_->cells.size() + 1) > settings_.rows_at_once) {
        jobs_.push_back(std::move(*open_));
        open_.reset();
    }
    if (!open_) open_ = Job{map, {}, {}, 0};
    const int64_t longest = std::max(open_->cells.empty() ? 0 : open_->cost / static_cast<int64_t>(open_->cells.size()),
                                     patching_.tokens_run(cell));
    open_->cells.push_back(std::move(cell));
    open_->at.push_back(at);
    open_->cost = longest * static_cast<int64_t>(open_->cells.size());
}

bool PatchMap::step() {
    if (jobs_.empty()) return false;
    const Job job = std::move(jobs_.front());
    jobs_.pop_front();
    const at::Tensor logits = patching_.logits(job.cells);
    PatchScores& scores = maps_[job.map];
    for (size_t i = 0; i < job.cells.size(); ++i) {
        const PatchScore score = patch_score(patching_.source_logits(), logits[static_cast<int64_t>(i)], target_);
        scores.logit_difference[job.at[i]] = score.logit_difference;
        scores.kl[job.at[i]] = score.kl;
    }
    cells_run_ += static_cast<int64_t>(job.cells.size());
    cost_done_ += job.cost;
    return !jobs_.empty();
}

double PatchMap::progress() const {
    return cost_all_ > 0 ? static_cast<double>(cost_done_) / static_cast<double>(cost_all_) : 1;
}

std::string PatchMap::stage() const {
    if (jobs_.empty()) return {};
    const Job& next = jobs_.front();
    return "patching " + to_string(maps_[next.map].site) + ", layer " + std::to_string(next.cells.front().layer + 1) +
           " of " + std::to_string(layers_);
}

}  // namespace savepoint
