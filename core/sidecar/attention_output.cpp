#include "core/sidecar/attention_output.h"

#include <ATen/ATen.h>

#include <limits>
#include <vector>

namespace savepoint {

namespace {

// Of [tokens, layers, heads, d], each head as often as queries share it: [layers, heads, tokens, d].
at::Tensor by_head(const at::Tensor& x, int64_t shared) { return x.permute({1, 2, 0, 3}).repeat_interleave(shared, 1); }

// The same of all layers: [layers, 1, queries, tokens].
at::Tensor unseen(const ModelConfig& config, int64_t queries, int64_t tokens) {
    std::vector<at::Tensor> layers;
    for (int64_t layer = 0; layer < config.layers; ++layer)
        layers.push_back(unseen_keys(config, layer, queries, tokens));
    return at::stack(layers).unsqueeze(1);
}

}  // namespace

at::Tensor unseen_keys(const ModelConfig& config, int64_t layer, int64_t queries, int64_t tokens) {
    const at::Tensor all = at::ones({queries, tokens}, at::kBool), later = all.triu(tokens - queries + 1);
    if (!config.is_local(layer)) return later;
    return later.logical_or(all.tril(tokens - queries - config.sliding_window));
}

at::Tensor attention_weights(const ModelConfig& config, const at::Tensor& query, const at::Tensor& key) {
    const int64_t queries = query.size(0), layers = query.size(1), heads = query.size(2), kv_heads = key.size(2);
    // Query heads that share a key's head are more rows of it.
    const at::Tensor q = (query * config.attention_scale())
                             .permute({1, 2, 0, 3})
                             .reshape({layers, kv_heads, heads / kv_heads * queries, query.size(3)});
    at::Tensor scores = at::matmul(q, key.permute({1, 2, 3, 0})).view({layers, heads, queries, key.size(0)});
    scores.masked_fill_(unseen(config, queries, key.size(0)), -std::numeric_limits<float>::infinity());
    return at::softmax(scores, -1);
}

at::Tensor attention_output(const ModelConfig& config, const at::Tensor& query, const at::Tensor& key,
                            const at::Tensor& value) {
    const at::Tensor v = by_head(value, query.size(2) / key.size(2));
    return at::matmul(attention_weights(config, query, key), v).permute({2, 0, 1, 3}).contiguous();
}

}  // namespace savepoint
