#include "core/model/rotary.h"

#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/Parallel.h>

#include <algorithm>
#include <cmath>

#include "core/model/kernels.h"

namespace savepoint {

RotaryTable::RotaryTable(int64_t head_dim, double base) : half_(head_dim / 2), base_(base) {}

void RotaryTable::reserve(int64_t positions) {
    if (positions <= positions_) return;
    positions_ = std::max(positions, 2 * positions_);
    cosines_ = at::empty({positions_, half_}, at::kFloat);
    sines_ = at::empty({positions_, half_}, at::kFloat);
    for (int64_t i = 0; i < half_; ++i) {
        const float exponent = static_cast<float>(2 * i) / static_cast<float>(2 * half_);
        const float frequency = 1.0f / static_cast<float>(std::pow(base_, static_cast<double>(exponent)));
        for (int64_t p = 0; p < positions_; ++p) {
            const float angle = static_cast<float>(p) * frequency;
            cosines_.data_ptr<float>()[p * half_ + i] = static_cast<float>(std::cos(static_cast<double>(angle)));
            sines_.data_ptr<float>()[p * half_ + i] = static_cast<float>(std::sin(static_cast<double>(angle)));
        }
    }
}

at::Tensor RotaryTable::rotate(const at::Tensor& x, int64_t first) {
    const int64_t tokens = x.size(2), head_dim = x.size(3);
    reserve(first + tokens);
    if (!x.is_cpu() || x.requires_grad()) {  // the loop below has no gradient
        const at::Tensor c = cosines_.narrow(0, first, tokens).to(x.device()),
                         s = sines_.narrow(0, first, tokens).to(x.device());
        const at::Tensor a = x.narrow(3, 0, half_), b = x.narrow(3, half_, half_);
        return at::cat({a * c - b * s, b * c + a * s}, 3);
    }
    const at::Tensor from = x.contiguous();
    at::Tensor result = at::empty_like(from);
    const float* in = from.data_ptr<float>();
    float* out = result.data_ptr<float>();
    for (int64_t outer = 0; outer < from.size(0) * from.size(1); ++outer)
        for (int64_t t = 0; t < tokens; ++t, in += head_dim, out += head_dim)
            rotate_head(in, cosines(first + t), sines(first + t), head_dim, out);
    return result;
}

Rotary::Rotary(const ModelConfig& config) : config_(config), global_(config.head_dim, config.rope_base) {
    if (config.sliding_window > 0) local_.emplace(config.head_dim, config.local_rope_base);
    reserve(std::min<int64_t>(config.context, 2048));
}

void Rotary::reserve(int64_t positions) {
    global_.reserve(positions);
    if (local_) local_->reserve(positions);
}

}  // namespace savepoint
