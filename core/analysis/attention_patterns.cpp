#include "core/analysis/attention_patterns.h"

#include <ATen/ATen.h>

#include <limits>

#include "core/model/error.h"

namespace savepoint {

at::Tensor attention_pattern(const Transformer& model, const StateRun& run, int64_t position) {
    check_run(run, "attention");
    if (position < 0 || position >= static_cast<int64_t>(run.ids.size()))
        throw InputError("attention: token " + std::to_string(position) + " is not in a run of " +
                         std::to_string(run.ids.size()));
    const ModelConfig& c = model.config();
    const at::Tensor query = model.rotate(
        model.queries(run.rows.slice(position, 1), std::span(run.ids).subspan(static_cast<size_t>(position), 1)),
        position);
    const at::Tensor key = model.rotate(run.rows.key.narrow(0, 0, position + 1), 0);  // [tokens, layers, kv_heads, d]
    const at::Tensor q = query[0].view({c.layers, c.kv_heads, c.heads_per_kv(), c.head_dim});
    at::Tensor scores = at::matmul(q, key.permute({1, 2, 3, 0}));  // [layers, kv_heads, group, tokens]
    for (int64_t layer = 0; layer < c.layers; ++layer)
        scores[layer].narrow(-1, 0, c.first_key(layer, position)).fill_(-std::numeric_limits<float>::infinity());
    return at::softmax(scores * c.attention_scale(), -1).reshape({c.layers, c.heads, position + 1});
}

}  // namespace savepoint
