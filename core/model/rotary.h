#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <optional>

#include "core/model/config.h"

namespace savepoint {

// Cosines and sines of the rotary embedding of one base, [positions, head_dim / 2] each, in float32 as Hugging Face's
// LlamaRotaryEmbedding computes them: 1 / base^(2 i / head_dim), times the position, all rounded to
// float32. Grows as positions are asked for.
class RotaryTable {
   public:
    RotaryTable(int64_t head_dim, double base);

    void reserve(int64_t positions);
    const float* cosines(int64_t position) const { return cosines_.data_ptr<float>() + position * half_; }
    const float* sines(int64_t position) const { return sines_.data_ptr<float>() + position * half_; }
    int64_t half() const { return half_; }

    // x [batch, heads, tokens, head_dim], any device, at positions first... Same bits as rotate_head().
    at::Tensor rotate(const at::Tensor& x, int64_t first);

   private:
    int64_t half_, positions_ = 0;
    double base_;
    at::Tensor cosines_, sines_;
};

// The tables of a model's blocks: one for all, or a second for those that are local.
class Rotary {
   public:
    explicit Rotary(const ModelConfig& config);

    void reserve(int64_t positions);
    RotaryTable& of(int64_t block) { return config_.is_local(block) ? *local_ : global_; }

   private:
    const ModelConfig& config_;
    RotaryTable global_;
    std::optional<RotaryTable> local_;
};

}  // namespace savepoint
