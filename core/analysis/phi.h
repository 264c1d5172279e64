#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>

#include "core/analysis/phi_settings.h"

namespace savepoint {

// A feature map made ready for one model. Immutable. Throws InputError on settings out of range and on other shapes.
//
// exp, favor and hedgehog are exponentials: keys come as their logarithms, so that a sum over them can keep one running
// maximum per head (PhiState) and nothing overflows; a query is scaled by its own largest feature, which cancels in
// every quotient it is used in.
class Phi {
   public:
    Phi(const PhiSettings& settings, int64_t head_dim);
    // query_maps [layers, heads, d, d], key_maps [layers, kv_heads, d, d]: x W as rows; see hedgehog_fit.h.
    static Phi hedgehog(PhiSettings settings, const at::Tensor& query_maps, const at::Tensor& key_maps);

    Phi of_layer(int64_t layer) const;  // for rows of that layer alone

    const PhiSettings& settings() const { return settings_; }
    int64_t features() const;
    bool exponential() const;
    const at::Tensor& query_maps() const { return query_maps_; }  // of hedgehog; else undefined
    const at::Tensor& key_maps() const { return key_maps_; }
    bool is_signed() const { return settings_.kind == PhiKind::identity; }

    // [tokens, layers, heads, d] -> [tokens, layers, heads, features], float32 or float64 as given.
    at::Tensor queries(const at::Tensor& q) const;
    // [tokens, layers, kv_heads, d] -> [tokens, layers, kv_heads, features]; of exponentials the logarithm.
    at::Tensor keys(const at::Tensor& k) const;

   private:
    at::Tensor map(const at::Tensor& x, const at::Tensor& weights) const;

    PhiSettings settings_;
    int64_t head_dim_ = 0;
    at::Tensor directions_;             // favor: [d, m]
    at::Tensor query_maps_, key_maps_;  // hedgehog
};

// The logarithm of hedgehog's features, [.., rows, d] x [.., d, d] -> [.., rows, 2 d]. Differentiable.
at::Tensor hedgehog_logs(const at::Tensor& rows, const at::Tensor& weights);

}  // namespace savepoint
