#pragma once

#include <ATen/core/Tensor.h>

#include <memory>
#include <span>
#include <vector>

#include "core/model/weights.h"
#include "core/sidecar/run_codec.h"
#include "core/sidecar/sensitivity.h"

namespace savepoint {

// Of one block; keys before rotary embedding.
struct KeyValue {
    at::Tensor key, value;  // [tokens, kv_heads, head_dim]
};

// The numbers of one block that a transform codec sees, one vector a token, and what an error in them costs.
//   hidden  resid_post of the block: [d_model]
//   kv      its keys (before rotary embedding), then its values: [2 kv_dim]
//   full    resid_post / r and sqrt(d_model) log r, r its root mean square: [d_model + 1]. The next block's keys and
//           values are a linear map of the first part, W diag(norm) resid / r, so that one code gives both (behind it
//           comes the norm of keys, where the model has one); those of block 0 follow from the token's embedding.
class BlockFeatures {
   public:
    BlockFeatures(std::shared_ptr<const Weights> weights, CodedPart part);

    CodedPart part() const { return part_; }
    const ModelConfig& config() const { return weights_->config(); }
    int64_t blocks() const { return config().layers; }
    int64_t width() const { return width_; }

    at::Tensor of(const StateRows& rows, int64_t block) const;  // [tokens, width]
    // resid_post of a block [.., d_model], from its features [.., width] (not of kv).
    at::Tensor hidden(const at::Tensor& features) const;
    // Keys and values of a block from resid_post / r of the block below it, [tokens, d_model], or in block 0 from
    // embeddings() (full).
    KeyValue key_value(int64_t block, const at::Tensor& direction) const;
    // The state that features [blocks][tokens, width] stand for.
    StateRows rows(const std::vector<at::Tensor>& features, std::span<const TokenId> tokens) const;
    // The token's embedding, at unit mean square: [tokens, d_model].
    at::Tensor embeddings(std::span<const TokenId> tokens) const;
    // The same where each token that recurs stands once.
    struct Distinct {
        at::Tensor embeddings;  // [distinct tokens, d_model]
        at::Tensor which;       // [tokens] int64: the row of each
    };
    Distinct distinct_embeddings(std::span<const TokenId> tokens) const;

    // M_l [width, width], so that d^T M d summed over blocks is the expected cost of an error d.
    //   hidden  the mean over layers of the fraction of variance unexplained
    //   kv      KL in nats after resuming, or without a sensitivity the mean fraction of variance unexplained
    //   full    that of hidden, plus kl_weight times that of kv (nothing without a sensitivity)
    // variance [layers, width] (full: [layers, d_model], of the states as they are); mean_square [layers], of the
    // states. A norm of keys is taken as linear there, at the length that keys have where resid / r is of no direction
    // in particular: that weighs keys a little wrongly beside values, and changes nothing that is decoded.
    std::vector<at::Tensor> metric(const at::Tensor& variance, const at::Tensor& mean_square,
                                   const Sensitivity* sensitivity, double kl_weight) const;

   private:
    void add_kv(const std::vector<at::Tensor>& features, std::span<const TokenId> tokens, StateRows& rows) const;
    at::Tensor kv_metric(int64_t block, const at::Tensor& variance, const Sensitivity* sensitivity) const;
    at::Tensor normed_keys(int64_t block, const at::Tensor& key) const;  // [tokens, kv_heads, head_dim]
    at::Tensor linear_kv_map(int64_t block) const;                       // [2 kv_dim, d_model]

    std::shared_ptr<const Weights> weights_;
    CodedPart part_;
    int64_t width_;
    std::vector<at::Tensor> kv_maps_;  // full: [2 kv_dim, d_model] of each block, of resid / r; before the norm of keys
};

}  // namespace savepoint
