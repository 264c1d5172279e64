#include "core/sidecar/attention_output.h"

#include <ATen/ATen.h>

#include <limits>
#include <vector>

namespace savepoint {

namespace {

// Query heads that share a KV head are more rows of it: [n, heads, d] -> [kv_heads, group * n, d].
at::Tensor by_kv_head(const at::Tensor& query, int64_t kv_heads) {
    const int64_t n = query.size(0), heads = query.size(1);
    return query.transpose(0, 1).reshape({kv_heads, heads / kv_heads * n, query.size(2)});
}

// What each of the last queries does not attend to in a layer: [queries, tokens].
at::Tensor unseen(const ModelConfig& config, int64_t layer, int64_t queries, int64_t tokens) {
    const at::Tensor all = at::ones({queries, tokens}, at::kBool), later = all.triu(tokens - queries + 1);
    if (!config.is_local(layer)) return later;
    return later.logical_or(all.tril(tokens - queries - config.sliding_window));
}

}  // namespace

at::Tensor attention_weights(const ModelConfig& config, int64_t layer, const at::Tensor& query, const at::Tensor& key) {
    const int64_t queries = query.size(0), tokens = key.size(0);
    const at::Tensor q = by_kv_head(query * config.attention_scale(), key.size(1));
    at::Tensor scores = at::bmm(q, key.permute({1, 2, 0})).view({query.size(1), queries, tokens});
    scores.masked_fill_(unseen(config, layer, queries, tokens), -std::numeric_limits<float>::infinity());
    return at::softmax(scores, -1);
}

at::Tensor attention_output(const ModelConfig& config, const at::Tensor& query, const at::Tensor& key,
                            const at::Tensor& value) {
    std::vector<at::Tensor> layers;
    for (int64_t layer = 0; layer < query.size(1); ++layer) {
        const at::Tensor weights = attention_weights(config, layer, query.select(1, layer), key.select(1, layer));
        const at::Tensor v = value.select(1, layer).transpose(0, 1);  // [kv_heads, tokens, d]
        const at::Tensor mixed = at::bmm(weights.reshape({v.size(0), -1, v.size(1)}), v);
        layers.push_back(mixed.view({query.size(2), query.size(0), v.size(2)}).transpose(0, 1));
    }
    return at::stack(layers, 1);
}

}  // namespace savepoint
