#pragma once

#include <ATen/core/Tensor.h>

#include <functional>
#include <string>
#include <unordered_map>
#include <vector>

namespace savepoint {

// Callbacks on named activations of a forward pass; names as in TransformerLens:
//   hook_embed, blocks.L.hook_resid_pre, blocks.L.attn.hook_q, hook_k (before rotary), hook_v,
//   hook_rot_q, hook_rot_k, hook_pattern, hook_z, blocks.L.hook_attn_out, hook_resid_mid,
//   hook_mlp_out, hook_resid_post, ln_final.hook_normalized
// Where a model norms each head's query and key (ModelConfig::qk_norm), hook_q and hook_k are behind that norm: what
// rotary embedding gets, and what a state holds (TransformerLens has them before it). hook_attn_out and hook_mlp_out
// are what is added to the residual stream, behind the norm of post_norm.
// Shapes, batch first: resid [batch, tokens, d_model]; q, z [batch, tokens, heads, head_dim];
//   k, v [batch, tokens, kv_heads, head_dim]; pattern [batch, heads, tokens, keys].
// A hook may return a tensor of the same shape, which replaces the activation; an undefined tensor
// leaves it. Hooks on a name run in the order they were added.
class Hooks {
   public:
    using Hook = std::function<at::Tensor(const at::Tensor&)>;

    void add(const std::string& name, Hook hook);
    void read(const std::string& name, std::function<void(const at::Tensor&)> reader);
    bool empty() const { return hooks_.empty(); }
    bool wants(const std::string& name) const { return hooks_.contains(name); }
    // The activation after all hooks on `name`; throws InputError when a replacement changes its shape.
    at::Tensor run(const std::string& name, at::Tensor activation) const;
    // Throws InputError naming a hook that no block of a model with `layers` layers has.
    void check_names(int64_t layers) const;

   private:
    std::unordered_map<std::string, std::vector<Hook>> hooks_;
};

}  // namespace savepoint
