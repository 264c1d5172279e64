#include "core/model/kv_cache.h"

#include <ATen/ops/empty.h>

#include <algorithm>

#include "core/model/error.h"

namespace savepoint {

KvCache::KvCache(const ModelConfig& config, int64_t capacity, c10::Device device, int64_t batch)
    : capacity_(std::max<int64_t>(capacity, 1)), batch_(batch) {
    const auto options = at::TensorOptions().dtype(at::kFloat).device(device);
    for (int64_t layer = 0; layer < config.layers; ++layer) {
        keys_.push_back(at::empty({batch_, config.kv_heads, capacity_, config.head_dim}, options));
        values_.push_back(at::empty({batch_, config.kv_heads, capacity_, config.head_dim}, options));
    }
}

namespace {

at::Tensor grown(const at::Tensor& old, int64_t batch, int64_t length, int64_t capacity) {
    at::Tensor fresh = at::empty({batch, old.size(1), capacity, old.size(3)}, old.options());
    fresh.narrow(2, 0, length).copy_(old.narrow(2, 0, length));
    return fresh;
}

}  // namespace

void KvCache::reserve(int64_t capacity) {
    if (capacity <= capacity_) return;
    capacity_ = std::max(capacity, 2 * capacity_);
    for (auto* tensors : {&keys_, &values_})
        for (at::Tensor& tensor : *tensors) tensor = grown(tensor, batch_, length_, capacity_);
}

void KvCache::truncate(int64_t length) {
    if (length < 0 || length > length_)
        throw InputError("cache: cannot be cut to " + std::to_string(length) + " of " + std::to_string(length_) +
                         " tokens");
    length_ = length;
}

void KvCache::set_length(int64_t length) { length_ = length; }

KvCache KvCache::repeat(int64_t batch, int64_t extra_capacity) const {
    if (batch_ != 1) throw InputError("cache: only a cache of one row can be repeated");
    KvCache copy = *this;
    copy.batch_ = batch;
    copy.capacity_ = length_ + extra_capacity;
    for (auto* tensors : {&copy.keys_, &copy.values_})
        for (at::Tensor& tensor : *tensors) tensor = grown(tensor, batch, length_, copy.capacity_);
    return copy;
}

int64_t KvCache::bytes() const {
    int64_t total = 0;
    for (const auto* tensors : {&keys_, &values_})
        for (const at::Tensor& tensor : *tensors) total += static_cast<int64_t>(tensor.nbytes());
    return total;
}

}  // namespace savepoint
