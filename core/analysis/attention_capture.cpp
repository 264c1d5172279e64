#include "core/analysis/attention_capture.h"

#include <ATen/ATen.h>

#include <string>

namespace savepoint {

AttentionCapture::AttentionCapture(const Transformer& model, bool rotary) : model_(model) {
    keep(rotary ? "hook_rot_q" : "hook_q", query_);
    keep(rotary ? "hook_rot_k" : "hook_k", key_);
    keep("hook_v", value_);
    keep("hook_z", z_);
}

void AttentionCapture::keep(const std::string& hook, std::vector<at::Tensor>& layers) {
    layers.resize(static_cast<size_t>(model_.config().layers));
    for (size_t layer = 0; layer < layers.size(); ++layer)
        hooks_.read("blocks." + std::to_string(layer) + ".attn." + hook,
                    [&layers, layer](const at::Tensor& x) { layers[layer] = x.to(at::kCPU, at::kFloat); });
}

std::vector<AttentionRun> AttentionCapture::run(const std::vector<std::vector<TokenId>>& sequences,
                                                ForwardOptions options) {
    options.hooks = &hooks_;
    output_ = model_.forward_batch(sequences, options);
    // [batch, tokens, layers, heads, head_dim]
    const at::Tensor query = at::stack(query_, 2), key = at::stack(key_, 2), value = at::stack(value_, 2),
                     z = at::stack(z_, 2);
    std::vector<AttentionRun> runs;
    for (int64_t i = 0; i < query.size(0); ++i) runs.push_back({query[i], key[i], value[i], z[i]});
    return runs;
}

}  // namespace savepoint
