#pragma once

#include <ATen/core/Tensor.h>

#include <memory>
#include <string>
#include <vector>

#include "core/model/hooks.h"
#include "core/model/kv_cache.h"
#include "core/model/linear.h"
#include "core/model/rotary.h"
#include "core/model/rows.h"
#include "core/model/weights.h"

namespace savepoint {

// One forward pass of [batch, tokens] through libtorch.
struct TorchPass {
    at::Tensor resid;  // [batch, tokens, d_model]: what block `first_block` reads
    int64_t first_block = 0;
    int64_t past = 0;          // tokens before these
    KvCache* cache = nullptr;  // written at `past`, of the same batch; null: the pass stands alone
    const Hooks* hooks = nullptr;
    const RowEdit* edit = nullptr;  // its position lies in past .. past + tokens - 1; batch 1
    StateRows* rows = nullptr;      // filled in place, over the flattened batch; null: nothing is kept
    at::Tensor query = {};          // hook_q, filled in place: [batch * tokens, layers, heads, head_dim]; or undefined
    // Instead of a cache: what the tokens before these left, [batch, past, layers, kv_heads, head_dim], keys before
    // rotary embedding. Gradients flow into them.
    at::Tensor prefix_key = {}, prefix_value = {};
    int64_t prefix_block = 0;    // whose layer is the first of these
    bool checkpointing = false;  // without cache, hooks, edit and rows: blocks run again in the backward pass
};

// The model as libtorch operations, for prefill, batches, hooks, and devices other than the CPU.
class TorchModel {
   public:
    TorchModel(std::shared_ptr<const Weights> weights, Rotary& rotary, c10::Device device);

    at::Tensor embed(const at::Tensor& ids) const;  // [.., tokens] int64 -> what block 0 reads, [.., tokens, d_model]
    at::Tensor run(const TorchPass& pass);          // resid_post of the last block
    at::Tensor final_norm(const at::Tensor& resid) const;
    at::Tensor head(const at::Tensor& normed) const;
    // hook_q of `layer` for its resid_pre [.., d_model] -> [.., heads, head_dim]
    at::Tensor query(const at::Tensor& resid_pre, int64_t layer) const;

   private:
    struct Block {
        at::Tensor attn_norm, q_norm, k_norm, attn_post_norm;  // the last three undefined where there is none
        Linear q, k, v, o;
        at::Tensor mlp_norm, mlp_post_norm;
        Linear gate, up, down;
    };

    at::Tensor block_again(const TorchPass& pass, int64_t layer, const at::Tensor& resid);
    at::Tensor attention(const TorchPass& pass, int64_t layer, const at::Tensor& resid);
    at::Tensor mix(const TorchPass& pass, int64_t layer, const at::Tensor& q, const at::Tensor& k,
                   const at::Tensor& v) const;
    at::Tensor mlp(const Block& block, const at::Tensor& resid) const;
    at::Tensor activated(const at::Tensor& gate) const;
    at::Tensor heads_of(const Linear& linear, const at::Tensor& x) const;
    at::Tensor norm(const at::Tensor& x, const at::Tensor& weight) const;  // x itself without a weight

    std::shared_ptr<const Weights> weights_;
    const ModelConfig& config_;
    Rotary& rotary_;
    c10::Device device_;
    std::vector<Block> blocks_;
    at::Tensor embed_, final_norm_, head_;
};

}  // namespace savepoint
