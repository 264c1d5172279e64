#include "core/analysis/attention_mass.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <string>

#include "core/model/error.h"
#include "core/sidecar/attention_output.h"

namespace savepoint {
namespace {

constexpr int64_t kPiece = 64;

}  // namespace

at::Tensor attention_paid(const ModelConfig& c, int64_t layer, const at::Tensor& query, const at::Tensor& key,
                          int64_t first) {
    const at::Tensor own = at::arange(first, first + query.size(0)).unsqueeze(1);
    return attention_weights(c, layer, query, key).masked_fill_(at::arange(key.size(0)) == own, 0);
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
