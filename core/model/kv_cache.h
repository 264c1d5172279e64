#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "core/model/config.h"

namespace savepoint {

// The live attention cache: rotated keys and values of one path, or of a batch of branches that share
// a prefix. It belongs to a Transformer (which fills it) and lives on that model's device.
//   keys(L), values(L): [batch, kv_heads, capacity, head_dim]
// Local blocks keep the tokens before their sliding window too: a path may be cut back to any of them.
class KvCache {
   public:
    KvCache(const ModelConfig& config, int64_t capacity, c10::Device device, int64_t batch = 1);

    int64_t length() const { return length_; }
    int64_t capacity() const { return capacity_; }
    int64_t batch() const { return batch_; }
    at::Tensor& keys(int64_t layer) { return keys_[layer]; }
    at::Tensor& values(int64_t layer) { return values_[layer]; }
    const at::Tensor& keys(int64_t layer) const { return keys_[layer]; }
    const at::Tensor& values(int64_t layer) const { return values_[layer]; }
    void reserve(int64_t capacity);   // grows (at least doubling), keeping what is there
    void truncate(int64_t length);    // forgets tokens from `length` on; O(1)
    void set_length(int64_t length);  // by the model, after writing rows
    // A cache of `batch` rows, each a copy of this cache's only row.
    KvCache repeat(int64_t batch, int64_t extra_capacity) const;
    int64_t bytes() const;

   private:
    std::vector<at::Tensor> keys_, values_;
    int64_t length_ = 0, capacity_ = 0, batch_ = 1;
};

}  // namespace savepoint
