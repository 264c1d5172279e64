#pragma once

#include <ATen/core/Tensor.h>

#include <vector>

#include "core/model/hooks.h"
#include "core/model/transformer.h"

namespace savepoint {

// What attention worked on in one sequence, float32 on the CPU: query, z [tokens, layers, heads, head_dim] and
// key, value [tokens, layers, kv_heads, head_dim]; z is what the model's softmax attention made of them (hook_z).
struct AttentionRun {
    at::Tensor query, key, value, z;
};

// Captures runs through the model's hooks, queries and keys after rotary embedding or before it.
class AttentionCapture {
   public:
    AttentionCapture(const Transformer& model, bool rotary);
    AttentionCapture(const AttentionCapture&) = delete;
    AttentionCapture& operator=(const AttentionCapture&) = delete;
    // Sequences of one length, as one batch. Also the last forward's own rows and logits, where options ask for them.
    std::vector<AttentionRun> run(const std::vector<std::vector<TokenId>>& sequences, ForwardOptions options = {});
    const ForwardOutput& output() const { return output_; }

   private:
    void keep(const std::string& hook, std::vector<at::Tensor>& layers);

    const Transformer& model_;
    Hooks hooks_;
    std::vector<at::Tensor> query_, key_, value_, z_;  // one a layer, [batch, tokens, heads, head_dim]
    ForwardOutput output_;
};

}  // namespace savepoint
