#pragma once

#include <cstdint>
#include <string>

namespace savepoint {

enum class NormKind { rms, layer };
enum class ActivationKind { silu, gelu, gelu_tanh };

// What tells one decoder-only architecture from another. The llama family uses the defaults; the
// other switches are where Qwen (attention_bias, qk_norm), Gemma (norm offset, embedding scale) and
// GPT-2 (layer norm, learned positions, no gate) will join.
struct ModelConfig {
    std::string architecture;  // general.architecture of the GGUF file, e.g. "llama"
    std::string name;
    int64_t layers = 0;
    int64_t d_model = 0;
    int64_t d_ff = 0;
    int64_t heads = 0;
    int64_t kv_heads = 0;
    int64_t head_dim = 0;
    int64_t vocab = 0;
    int64_t context = 0;  // tokens
    float norm_eps = 1e-5f;
    double rope_base = 10000.0;
    NormKind norm = NormKind::rms;
    ActivationKind activation = ActivationKind::silu;
    bool gated_mlp = true;
    bool tied_head = true;
    bool attention_bias = false;
    bool qk_norm = false;

    int64_t q_dim() const { return heads * head_dim; }
    int64_t kv_dim() const { return kv_heads * head_dim; }
    int64_t heads_per_kv() const { return heads / kv_heads; }
};

}  // namespace savepoint
