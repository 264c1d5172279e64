#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <string>

namespace savepoint {

enum class NormKind { rms, layer };
enum class ActivationKind { silu, gelu, gelu_tanh };

// What tells one decoder-only architecture from another. The llama family uses the defaults, Gemma 3 what
// says so; attention_bias (Qwen) and layer norm (GPT-2) are where others will join.
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
    double embed_scale = 1;  // block 0 reads the token's embedding times this (Gemma 3: sqrt(d_model))
    bool qk_norm = false;    // RMS norm of each head's query and key, before rotary embedding (Gemma 3)
    bool post_norm = false;  // RMS norm of what attention and MLP add to the residual stream (Gemma 3)
    // Local blocks attend to the last sliding_window tokens, the token itself among them, and have a rotary base of
    // their own. Every global_every-th block (the sixth, the twelfth, ..) is global. 0: all are (Gemma 3: 512 and 6).
    int64_t sliding_window = 0;
    int64_t global_every = 1;
    double local_rope_base = 10000.0;

    int64_t q_dim() const { return heads * head_dim; }
    int64_t kv_dim() const { return kv_heads * head_dim; }
    int64_t heads_per_kv() const { return heads / kv_heads; }
    // Of q k^T. Gemma's query_pre_attn_scalar is head_dim too (but in 27B, which gguf_config.h refuses).
    double attention_scale() const { return 1.0 / std::sqrt(static_cast<double>(head_dim)); }
    bool is_local(int64_t block) const { return sliding_window > 0 && (block + 1) % global_every != 0; }
    // The first token that the token at `position` attends to in a block.
    int64_t first_key(int64_t block, int64_t position) const {
        return is_local(block) ? std::max<int64_t>(0, position + 1 - sliding_window) : 0;
    }
};

}  // namespace savepoint
