#include "core/sidecar/attention_output.h"

#include <ATen/ATen.h>

#include <limits>

namespace savepoint {

namespace {

// Of [tokens, layers, heads, d], each head as often as queries share it: [layers, heads, tokens, d].
at::Tensor by_head(const at::Tensor& x, int64_t shared) { return x.permute({1, 2, 0, 3}).repeat_interleave(shared, 1); }

// What each of the last queries does not attend to: [layers, 1, queries, tokens].
at::Tensor unseen(const ModelConfig& config, int64_t queries, int64_t tokens) {
    const at::Tensor all = at::ones({queries, tokens}, at::kBool), later = all.triu(tokens - queries + 1);
    std::vector<at::Tensor> layers;
    for (int64_t layer = 0; layer < config.layers; ++layer)
        layers.push_back(config.is_local(layer) ? later.logical_or(all.tril(tokens - queries - config.sliding_window))
                                                : later);
    return at::stack(layers).unsqueeze(1);
}

}  // namespace

at::Tensor attention_weights(const ModelConfig& config, const at::Tensor& query, const at::Tensor& key) {
    const at::Tensor q = by_head(query, 1), k = by_head(key, query.size(2) / key.size(2));
    const at::Tensor scores = at::matmul(q, k.transpose(2, 3)) * config.attention_scale();
    const at::Tensor mask = unseen(config, query.size(0), key.size(0));
    return at::softmax(scores.masked_fill(mask, -std::numeric_limits<float>::infinity()), -1);
}

at::Tensor attention_output(const ModelConfig& config, const at::Tensor& query, const at::Tensor& key,
                            const at::Tensor& value) {
    const at::Tensor v = by_head(value, query.size(2) / key.size(2));
    return at::matmul(attention_weights(config, query, key), v).permute({2, 0, 1, 3}).contiguous();
}

}  // namespace savepoint
