#include "core/sidecar/attention_output.h"

#include <ATen/ATen.h>

#include <cmath>
#include <limits>

namespace savepoint {

at::Tensor attention_output(const at::Tensor& query, const at::Tensor& key, const at::Tensor& value) {
    const int64_t queries = query.size(0), tokens = key.size(0), shared = query.size(2) / key.size(2);
    const auto by_head = [&](const at::Tensor& x) { return x.permute({1, 2, 0, 3}); };  // [layers, heads, tokens, d]
    const at::Tensor q = by_head(query);
    const at::Tensor k = by_head(key).repeat_interleave(shared, 1), v = by_head(value).repeat_interleave(shared, 1);
    const at::Tensor scores = at::matmul(q, k.transpose(2, 3)) / std::sqrt(static_cast<double>(q.size(3)));
    const at::Tensor later = at::ones({queries, tokens}, at::kBool).triu(tokens - queries + 1);
    const at::Tensor weights = at::softmax(scores.masked_fill(later, -std::numeric_limits<float>::infinity()), -1);
    return at::matmul(weights, v).permute({2, 0, 1, 3}).contiguous();
}

}  // namespace savepoint
