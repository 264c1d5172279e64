#include "core/sidecar/attention_output.h"

#include <ATen/ATen.h>

#include <cmath>
#include <limits>

namespace savepoint {

namespace {

// Of [tokens, layers, heads, d], each head as often as queries share it: [layers, heads, tokens, d].
at::Tensor by_head(const at::Tensor& x, int64_t shared) { return x.permute({1, 2, 0, 3}).repeat_interleave(shared, 1); }

}  // namespace

at::Tensor attention_weights(const at::Tensor& query, const at::Tensor& key) {
    const int64_t queries = query.size(0), tokens = key.size(0);
    const at::Tensor q = by_head(query, 1), k = by_head(key, query.size(2) / key.size(2));
    const at::Tensor scores = at::matmul(q, k.transpose(2, 3)) / std::sqrt(static_cast<double>(q.size(3)));
    const at::Tensor later = at::ones({queries, tokens}, at::kBool).triu(tokens - queries + 1);
    return at::softmax(scores.masked_fill(later, -std::numeric_limits<float>::infinity()), -1);
}

at::Tensor attention_output(const at::Tensor& query, const at::Tensor& key, const at::Tensor& value) {
    const at::Tensor v = by_head(value, query.size(2) / key.size(2));
    return at::matmul(attention_weights(query, key), v).permute({2, 0, 1, 3}).contiguous();
}

}  // namespace savepoint
