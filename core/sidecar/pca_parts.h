#pragma once

#include <memory>
#include <vector>

#include "core/sidecar/codec.h"
#include "core/sidecar/quantizer.h"

namespace savepoint {

// One layer group's principal axes: z = basis ((h - mean) / scale), float32.
struct PcaGroup {
    LayerGroup blocks;
    at::Tensor basis;     // [components, layers * d_model], orthonormal rows
    at::Tensor mean;      // [layers, d_model]
    at::Tensor scale;     // [layers]: RMS deviation of each block, so that late blocks do not drown early ones
    at::Tensor variance;  // [components], of the scaled states, descending
    double total = 0;     // variance of all of the group's scaled states
};

// The principal axes of each block's keys, or of its values: z = basis (x - mean).
struct PcaBlocks {
    at::Tensor basis;     // [layers, components, kv_heads * head_dim]
    at::Tensor mean;      // [layers, kv_heads * head_dim]
    at::Tensor variance;  // [layers, components]
    at::Tensor total;     // [layers]
};

std::shared_ptr<const HiddenCodec> make_pca_hidden(std::vector<PcaGroup> groups, int64_t group_size, int bits);
std::shared_ptr<const KvCodec> make_pca_kv(PcaBlocks key, PcaBlocks value, int64_t kv_heads, int bits);

// Half the width of a component's grid in standard deviations of the fitted set, by bits (0: unused). Wider clamps
// fewer states, narrower makes finer steps. Measured on held-out text: hidden states have the heavier tails.
constexpr double kHiddenHalfWidth[] = {1, 1, 1.5, 2.5, 4, 6, 8, 10, 12};
constexpr double kKvHalfWidth[] = {1, 1, 1.5, 2, 3, 4, 6, 6, 6};

}  // namespace savepoint
