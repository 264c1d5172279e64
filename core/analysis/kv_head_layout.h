#pragma once

#include <ATen/core/Tensor.h>

namespace savepoint {

// Rows of query heads gathered by the KV head that they read, as sums by KV head want them:
// [tokens, layers, kv_heads * group, d] -> [layers * kv_heads, group * tokens, d]
inline at::Tensor by_kv_head(const at::Tensor& x, int64_t kv_heads) {
    const int64_t tokens = x.size(0), layers = x.size(1), group = x.size(2) / kv_heads, d = x.size(3);
    return x.reshape({tokens, layers, kv_heads, group, d})
        .permute({1, 2, 3, 0, 4})
        .reshape({layers * kv_heads, group * tokens, d});
}

// And back.
inline at::Tensor from_kv_head(const at::Tensor& x, int64_t tokens, int64_t layers, int64_t kv_heads) {
    const int64_t group = x.size(1) / tokens, d = x.size(2);
    return x.reshape({layers, kv_heads, group, tokens, d})
        .permute({3, 0, 1, 2, 4})
        .reshape({tokens, layers, kv_heads * group, d});
}

}  // namespace savepoint
