#include "core/analysis/attention_mass.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <limits>
#include <string>
#include <vector>

#include "core/model/error.h"

namespace savepoint {
namespace {

constexpr int64_t kPiece = 64;

}  // namespace

at::Tensor attention_paid(const ModelConfig& c, int64_t layer, const at::Tensor& query, const at::Tensor& key,
                          int64_t first) {
    const int64_t n = query.size(0), tokens = key.size(0);
    // Query heads of one KV head are neighbours: [kv_heads, group * n, head_dim].
    const at::Tensor q = query.transpose(0, 1).reshape({c.kv_heads, c.heads_per_kv() * n, c.head_dim});
    const at::Tensor scores = at::bmm(q, key.permute({1, 2, 0})).mul_(c.attention_scale()).view({c.heads, n, tokens});
    const at::Tensor own = at::arange(first, first + n).unsqueeze(1), others = at::arange(tokens);
    at::Tensor unseen = others > own;
    if (c.first_key(layer, first + n - 1) > 0) {
        std::vector<int64_t> start;
        for (int64_t i = 0; i < n; ++i) start.push_back(c.first_key(layer, first + i));
        unseen = unseen.logical_or(others < at::tensor(start, at::kLong).unsqueeze(1));
    }
    at::Tensor weight = at::softmax(scores.masked_fill(unseen, -std::numeric_limits<float>::infinity()), -1);
    return weight.masked_fill_(others == own, 0);
}

void AttentionMass::add(const Transformer& model, const StateRows& rows, std::span<const TokenId> ids,
                        const at::Tensor& keys) {
    const ModelConfig& c = model.config();
    const int64_t first = tokens(), n = static_cast<int64_t>(ids.size());
    if (n == 0) return;
    if (!rows.has_hidden() || rows.hidden.size(0) != n || !keys.defined() || keys.size(0) != first + n)
        throw InputError("attention mass: needs the hidden states of " + std::to_string(n) +
                         " tokens, and the keys of those and of the " + std::to_string(first) + " before");
    const at::Tensor query = model.rotate(model.queries(rows, ids), first);
    const at::Tensor key = model.rotate(keys, 0);
    at::Tensor received = at::zeros({c.layers, c.heads, first + n}, at::kFloat);
    if (first > 0) received.narrow(2, 0, first).copy_(received_);
    for (int64_t layer = 0; layer < c.layers; ++layer)
        received[layer] += attention_paid(c, layer, query.select(1, layer), key.select(1, layer), first).sum(1);
    received_ = received;
}

AttentionMass attention_mass(const Transformer& model, const StateRun& run) {
    check_run(run, "attention mass");
    AttentionMass mass;
    const auto all = static_cast<int64_t>(run.ids.size());
    for (int64_t first = 0; first < all; first += kPiece) {
        const int64_t n = std::min(kPiece, all - first);
        mass.add(model, run.rows.slice(first, n), std::span(run.ids).subspan(first, n),
                 run.rows.key.narrow(0, 0, first + n));
    }
    return mass;
}

}  // namespace savepoint
