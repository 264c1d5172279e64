#pragma once

#include <ATen/core/Tensor.h>

#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "core/model/config.h"
#include "core/model/rows.h"
#include "core/state/safetensors.h"

namespace savepoint {

// A run of blocks coded together.
struct LayerGroup {
    int64_t first_block = 0, last_block = 0;  // inclusive
    int64_t layers() const { return last_block - first_block + 1; }
    std::string label() const;  // "blocks 4-7"
};
// Groups of `size` blocks; the last one may be smaller.
std::vector<LayerGroup> layer_groups(int64_t layers, int64_t size);

// Codes residual-stream states. z is real-valued on the codec's quantisation grid.
class HiddenCodec {
   public:
    virtual ~HiddenCodec() = default;
    virtual std::string kind() const = 0;  // "pca"
    virtual const std::vector<LayerGroup>& groups() const = 0;
    virtual int64_t components(int64_t group) const = 0;
    virtual at::Tensor encode(
        const at::Tensor& hidden) const = 0;  // [tokens, layers, d] -> [tokens, groups, max components]
    virtual at::Tensor decode(const at::Tensor& z) const = 0;  // and back
    virtual at::Tensor decode_group(const at::Tensor& z,
                                    int64_t group) const = 0;  // [tokens, groups, c] -> [tokens, group layers, d]
    virtual at::Tensor component_std() const = 0;   // [groups, c], of the fitted set; 0 beyond components(group)
    virtual at::Tensor component_mean() const = 0;  // [groups, c]
    // What distances between latents are counted in: [groups, c], 0 beyond components(group). Each component's own
    // deviation; of components that share one metric, in which most hardly move, the root of their mean square.
    virtual at::Tensor component_unit() const { return component_std(); }
    virtual at::Tensor explained() const = 0;    // [groups, c], fraction of the group's variance, descending
    virtual double bytes_per_token() const = 0;  // as pack() stores it
    virtual std::string pack(const at::Tensor& z) const = 0;  // the bytes that a file stores
    virtual at::Tensor unpack(const std::string& bytes, int64_t tokens) const = 0;
    virtual void save(TensorFile& file, nlohmann::json& settings) const = 0;
};

// Codes keys (before rotary embedding) and values.
class KvCodec {
   public:
    virtual ~KvCodec() = default;
    virtual std::string kind() const = 0;        // "pca"
    virtual int64_t key_components() const = 0;  // per block
    virtual int64_t value_components() const = 0;
    // [tokens, layers, kv_heads, head_dim] -> [tokens, layers, components]
    virtual at::Tensor encode_keys(const at::Tensor& key) const = 0;
    virtual at::Tensor encode_values(const at::Tensor& value) const = 0;
    virtual at::Tensor decode_keys(const at::Tensor& z) const = 0;
    virtual at::Tensor decode_values(const at::Tensor& z) const = 0;
    virtual at::Tensor key_std() const = 0;  // [layers, components]
    virtual at::Tensor value_std() const = 0;
    virtual at::Tensor key_mean() const = 0;
    virtual at::Tensor value_mean() const = 0;
    virtual at::Tensor key_explained() const = 0;  // [layers, components]
    virtual at::Tensor value_explained() const = 0;
    virtual double bytes_per_token() const = 0;
    virtual std::string pack(const at::Tensor& key_z, const at::Tensor& value_z) const = 0;
    virtual void unpack(const std::string& bytes, int64_t tokens, at::Tensor& key_z, at::Tensor& value_z) const = 0;
    virtual void save(TensorFile& file, nlohmann::json& settings) const = 0;
};

}  // namespace savepoint
