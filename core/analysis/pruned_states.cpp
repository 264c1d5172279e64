#include "core/analysis/pruned_states.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <vector>

#include "core/analysis/attention_mass.h"
#include "core/analysis/state_forms.h"
#include "core/model/error.h"

namespace savepoint {

namespace {

const std::array<std::pair<PruningKind, const char*>, 4> kNames{{{PruningKind::none, "none"},
                                                                 {PruningKind::window, "window"},
                                                                 {PruningKind::heavy, "heavy"},
                                                                 {PruningKind::mass_weighted, "mass-weighted"}}};

bool counts(PruningKind kind) { return kind == PruningKind::window || kind == PruningKind::heavy; }

// Summed over the query heads that read each KV head: [heads, ..] -> [kv_heads, ..]
at::Tensor by_kv(const at::Tensor& x, int64_t kv_heads) { return x.unflatten(0, {kv_heads, -1}).sum(1); }

}  // namespace

std::string to_string(const Pruning& pruning) {
    for (const auto& [kind, name] : kNames)
        if (kind == pruning.kind) return counts(kind) ? name + (":" + std::to_string(pruning.count)) : name;
    return "?";
}

Pruning pruning_from(const std::string& text) {
    const size_t colon = text.find(':');
    Pruning pruning;
    for (const auto& [kind, name] : kNames) {
        if (text.substr(0, colon) != name || (colon != std::string::npos) != counts(kind)) continue;
        pruning.kind = kind;
        if (!counts(kind)) return pruning;
        const char* end = text.data() + text.size();
        const auto read = std::from_chars(text.data() + colon + 1, end, pruning.count);
        if (read.ec != std::errc() || read.ptr != end || pruning.count < 1 || pruning.count > kLargestPruning) break;
        return pruning;
    }
    throw InputError("pruning: \"" + text + "\" is none of none, window:N, heavy:N, mass-weighted, with N from 1 to " +
                     std::to_string(kLargestPruning));
}

at::Tensor pruned_weights(const Pruning& pruning, const at::Tensor& received, int64_t tokens, int64_t layers,
                          int64_t kv_heads) {
    at::Tensor weights = at::ones({tokens, layers, kv_heads}, at::kFloat);
    const int64_t dropped = std::max<int64_t>(0, tokens - pruning.count);
    switch (pruning.kind) {
        case PruningKind::none:
            return weights;
        case PruningKind::window:
            weights.slice(0, 0, dropped).zero_();
            return weights;
        case PruningKind::heavy: {
            if (dropped == 0) return weights;
            const at::Tensor earlier = received.slice(2, 0, tokens - 1);
            const at::Tensor least = std::get<1>(earlier.topk(dropped, 2, false));
            weights.scatter_(0, least.permute({2, 0, 1}), 0);
            return weights;
        }
        case PruningKind::mass_weighted:
            weights.slice(0, 0, tokens - 1).copy_(received.slice(2, 0, tokens - 1).permute({2, 0, 1}));
            return weights;
    }
    throw InputError("pruning: unknown");
}

PrunedStates::PrunedStates(std::shared_ptr<const AnomalyReference> reference, const Pruning& pruning)
    : reference_(std::move(reference)), pruning_(pruning) {
    if (pruning_.count < 1) throw InputError("pruning: at least one token is kept");
}

// received_ goes on to the last of these tokens; by_token [n, layers, kv_heads, tokens]: as it was after each.
void PrunedStates::receive(const Transformer& model, const at::Tensor& query, const at::Tensor& key,
                           at::Tensor& by_token) {
    const ModelConfig& c = model.config();
    const int64_t n = query.size(0), all = key.size(0);
    at::Tensor before = at::zeros({c.layers, c.kv_heads, all}, at::kFloat);
    if (received_.defined()) before.slice(2, 0, tokens_).copy_(received_);
    by_token = at::empty({n, c.layers, c.kv_heads, all}, at::kFloat);
    for (int64_t layer = 0; layer < c.layers; ++layer) {
        const at::Tensor paid =
            attention_paid(c, layer, query.select(1, layer), key.select(1, layer), tokens_);  // [heads, n, all]
        by_token.select(1, layer).copy_(
            (by_kv(paid, c.kv_heads).cumsum(1) + before[layer].unsqueeze(1)).transpose(0, 1));
    }
    received_ = by_token[n - 1].clone();
}

at::Tensor PrunedStates::asked(const at::Tensor& query) {
    if (reference_->choice().form != StateForm::mean_query) return query;
    const at::Tensor sums = query.cumsum(0) + (query_sum_.defined() ? query_sum_ : at::zeros_like(query[0]));
    query_sum_ = sums[sums.size(0) - 1].clone();
    return sums / at::arange(tokens_ + 1, tokens_ + 1 + sums.size(0), at::kFloat).view({-1, 1, 1, 1});
}

FormRows PrunedStates::next(const Transformer& model, const StateRows& rows, std::span<const TokenId> ids,
                            const at::Tensor& keys, const at::Tensor& values) {
    const auto n = static_cast<int64_t>(ids.size());
    if (n < 1 || !rows.has_hidden() || rows.hidden.size(0) != n || !keys.defined() || keys.size(0) != tokens_ + n ||
        values.sizes() != keys.sizes())
        throw InputError(
            "pruned states: the rows of the next tokens, and the keys and values of all up to the last of "
            "them, are needed");
    const AnomalyChoice& choice = reference_->choice();
    const at::Tensor query = model.queries(rows, ids);
    const at::Tensor rotated_query = model.rotate(query, tokens_), rotated_key = model.rotate(keys, 0);
    at::Tensor received;
    if (pruning_.kind == PruningKind::heavy || pruning_.kind == PruningKind::mass_weighted)
        receive(model, rotated_query, rotated_key, received);
    const at::Tensor asking = asked(choice.phi.rotary ? rotated_query : query);
    const at::Tensor& seen = choice.phi.rotary ? rotated_key : keys;
    std::vector<at::Tensor> features;
    std::vector<int64_t> masked;
    for (int64_t i = 0; i < n; ++i) {
        const int64_t end = tokens_ + i + 1;
        const int64_t first = pruning_.kind == PruningKind::window ? std::max<int64_t>(0, end - pruning_.count) : 0;
        const at::Tensor of_token = received.defined() ? received[i] : at::Tensor();
        const at::Tensor weights = pruned_weights(pruning_, of_token, end, keys.size(1), keys.size(2));
        PhiState state;
        state.phi = reference_->phi();
        state.add(seen.slice(0, first, end), values.slice(0, first, end), weights.slice(0, first));
        const FormValues form = form_values(choice.form, state, asking[i]);
        at::Tensor one = form.values.unsqueeze(0);
        if (reference_->components())
            one = reduced(*reference_->components(), one.flatten(1, 2)).unflatten(1, {keys.size(1), keys.size(2)});
        features.push_back(one);
        masked.push_back(form.masked);
    }
    tokens_ += n;
    return {at::cat(features), at::tensor(masked, at::kLong)};
}

}  // namespace savepoint
