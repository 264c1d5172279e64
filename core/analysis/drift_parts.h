#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "core/analysis/drift_map.h"
#include "core/analysis/phi.h"
#include "core/model/rows.h"
#include "core/model/transformer.h"
#include "core/sidecar/sidecar.h"

namespace savepoint {

// A run of tokens from the path's beginning, with hidden, key and value rows of each.
struct StateRun {
    std::vector<TokenId> ids;
    StateRows rows;
};
void check_run(const StateRun& run, const std::string& name);  // throws InputError when rows are missing or too few

// One layer (latents: one group) of a part at some positions, ascending: [positions, heads, dimensions], float32.
// Linear-attention states are summed up from the path's beginning in chunks: never more than 64 of them are held
// beside those asked for.
class PartReader {
   public:
    // `sidecar`: needed for latents alone. `model` turns keys where phi wants them after rotary embedding.
    PartReader(const Transformer& model, const StateRun& run, std::shared_ptr<const Phi> phi,
               std::shared_ptr<const Sidecar> sidecar);
    int64_t rows(DriftPart part) const;   // layers, or layer groups
    int64_t heads(DriftPart part) const;  // KV heads, or 1
    bool has(DriftPart part) const { return part != DriftPart::latent || sidecar_ != nullptr; }
    at::Tensor read(DriftPart part, int64_t row, const std::vector<int64_t>& positions) const;

   private:
    at::Tensor states(int64_t layer, const std::vector<int64_t>& positions) const;

    StateRun run_;
    at::Tensor phi_keys_;  // what phi reads: keys before or after rotary embedding
    std::shared_ptr<const Phi> phi_;
    std::shared_ptr<const Sidecar> sidecar_;
    at::Tensor latents_;  // [tokens, groups, components]
};

// Euclidean distance of each row of `a` from the one of `b`: [n, heads, dimensions] -> [n, heads].
at::Tensor row_distances(const at::Tensor& a, const at::Tensor& b);

}  // namespace savepoint
