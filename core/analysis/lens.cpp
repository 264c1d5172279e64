#include "core/analysis/lens.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>

#include "core/model/error.h"
#include "core/model/sampler.h"

namespace savepoint {
namespace {

constexpr int64_t kTokensAtOnce = 2;  // of all layers: what a step takes

}  // namespace

Lens::Lens(const Transformer& model, const StateRun& run, at::Tensor seen, std::shared_ptr<const TunedLens> tuned,
           int64_t first, int64_t tokens, TokenId target, TokenId distractor)
    : model_(model),
      run_(run),
      seen_(std::move(seen)),
      tuned_(std::move(tuned)),
      target_(target),
      distractor_(distractor) {
    check_run(run_, "lens");
    const ModelConfig& c = model.config();
    const auto all = static_cast<int64_t>(run_.ids.size());
    if (!seen_.defined() || seen_.sizes() != at::IntArrayRef({all, c.layers, c.d_model}))
        throw InputError("lens: hidden states of every token and layer of this model are needed");
    if (tuned_ && tuned_->layers() != c.layers) throw InputError("lens: the tuned lens is of another model");
    if (first < 0 || tokens < 1 || first + tokens > all)
        throw InputError("lens: tokens " + std::to_string(first) + " to " + std::to_string(first + tokens - 1) +
                         " are not in a run of " + std::to_string(all));
    for (const TokenId id : {target, distractor})
        if (id >= c.vocab) throw InputError("lens: token id " + std::to_string(id) + " is not in the vocabulary");
    map_.first = first, map_.tokens = tokens, map_.layers = c.layers;
    const auto cells = static_cast<size_t>(tokens * c.layers);
    map_.top.assign(cells * kLensTop, 0);
    map_.top_probability.assign(cells * kLensTop, NAN);
    for (auto* values : {&map_.entropy, &map_.kl, &map_.next_probability, &map_.difference}) values->assign(cells, NAN);
}

bool Lens::step() {
    const int64_t count = std::min(kTokensAtOnce, map_.tokens - map_.read), from = map_.first + map_.read;
    if (count <= 0) return false;
    at::Tensor states = seen_.narrow(0, from, count);
    if (tuned_) {
        std::vector<at::Tensor> layers;
        for (int64_t layer = 0; layer < map_.layers; ++layer)
            layers.push_back(tuned_->apply(states.select(1, layer), layer));
        states = at::stack(layers, 1);
    }
    const at::Tensor logits = model_.unembed(states).flatten(0, 1);  // [count * layers, vocab]
    const at::Tensor final_logits = model_.unembed(run_.rows.hidden.narrow(0, from, count).select(1, map_.layers - 1));
    const at::Tensor log_p = at::log_softmax(logits, -1), p = log_p.exp();
    const at::Tensor final_log_p = at::log_softmax(final_logits, -1).repeat_interleave(map_.layers, 0);
    const at::Tensor entropy = -(p * log_p).sum(-1);
    const at::Tensor kl = (final_log_p.exp() * (final_log_p - log_p)).sum(-1);
    const auto [value, index] = p.topk(kLensTop);
    for (int64_t i = 0; i < count * map_.layers; ++i) {
        const auto at = static_cast<size_t>(map_.read * map_.layers + i);
        map_.entropy[at] = entropy[i].item<float>();
        map_.kl[at] = std::max(0.0f, kl[i].item<float>());
        for (int64_t k = 0; k < kLensTop; ++k) {
            map_.top[at * kLensTop + static_cast<size_t>(k)] = index[i][k].item<TokenId>();
            map_.top_probability[at * kLensTop + static_cast<size_t>(k)] = value[i][k].item<float>();
        }
        const auto next = static_cast<size_t>(from + i / map_.layers + 1);
        if (next < run_.ids.size()) map_.next_probability[at] = p[i][run_.ids[next]].item<float>();
        if (target_ >= 0 && distractor_ >= 0)
            map_.difference[at] = (logits[i][target_] - logits[i][distractor_]).item<float>();
    }
    map_.read += count;
    return map_.read < map_.tokens;
}

}  // namespace savepoint
