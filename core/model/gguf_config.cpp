#include "core/model/gguf_config.h"

#include <cmath>

namespace savepoint {

namespace {

// Far above every published model; keeps products of two sizes within int64.
constexpr int64_t kLargest = int64_t{1} << 28;

int64_t size_field(const GgufFile& file, const std::string& key, int64_t otherwise = 0) {
    const int64_t size = otherwise ? file.integer_or(key, otherwise) : file.integer(key);
    if (size < 1 || size > kLargest) file.fail(key + " is " + std::to_string(size));
    return size;
}

void refuse_variants(const GgufFile& file, const std::string& prefix, const ModelConfig& config) {
    if (file.integer_or(prefix + "expert_count", 0) > 0)
        file.fail(prefix + "expert_count: mixtures of experts are not supported");
    const std::string scaling = prefix + "rope.scaling.type";
    if (file.text_or(scaling, "none") != "none")
        file.fail(scaling + " is '" + file.text(scaling) + "': scaled rotary embeddings are not supported");
    const std::string rotated = prefix + "rope.dimension_count";
    if (file.integer_or(rotated, config.head_dim) != config.head_dim)
        file.fail(rotated + " differs from the head's size " + std::to_string(config.head_dim));
    const std::string values = prefix + "attention.value_length";
    if (file.integer_or(values, config.head_dim) != config.head_dim)
        file.fail(values + " differs from the key's length");
    for (const char* capped : {"attn_logit_softcapping", "final_logit_softcapping"})
        if (file.real_or(prefix + capped, 0) != 0) file.fail(prefix + capped + ": capped logits are not supported");
}

// What is not in the file is what llama.cpp takes for it (src/models/gemma3.cpp).
void read_gemma3(const GgufFile& file, const std::string& prefix, ModelConfig& config) {
    constexpr int64_t kLayersOf27B = 62;
    if (config.layers == kLayersOf27B)
        file.fail(prefix + "block_count is Gemma 3 27B's, which scales queries by itself");
    config.activation = ActivationKind::gelu_tanh;
    config.embed_scale = std::sqrt(static_cast<double>(config.d_model));
    config.qk_norm = config.post_norm = true;
    const std::string window = prefix + "attention.sliding_window";
    if (file.integer_or(window, 0) > 0) config.sliding_window = size_field(file, window);
    config.global_every = size_field(file, window + "_pattern", 6);
    config.local_rope_base = file.real_or(prefix + "rope.freq_base_swa", 10000.0);
    if (config.local_rope_base <= 1) file.fail(prefix + "rope.freq_base_swa is not above 1");
}

void check_relations(const GgufFile& file, const std::string& prefix, const ModelConfig& config) {
    if (config.heads % config.kv_heads) file.fail(prefix + "attention.head_count is no multiple of head_count_kv");
    if (config.head_dim % 2) file.fail(prefix + "attention.key_length is odd");
    if (config.layers > 4096) file.fail(prefix + "block_count is " + std::to_string(config.layers));
    if (config.norm_eps <= 0) file.fail(prefix + "attention.layer_norm_rms_epsilon is not positive");
    if (config.rope_base <= 1) file.fail(prefix + "rope.freq_base is not above 1");
}

}  // namespace

ModelConfig read_config(const GgufFile& file) {
    ModelConfig config;
    config.architecture = file.text("general.architecture");
    if (config.architecture != "llama" && config.architecture != "gemma3")
        file.fail("general.architecture is '" + config.architecture + "'; this Savepoint runs 'llama' and 'gemma3'");
    const std::string prefix = config.architecture + ".";
    config.name = file.text_or("general.name", config.architecture);
    config.layers = size_field(file, prefix + "block_count");
    config.d_model = size_field(file, prefix + "embedding_length");
    config.d_ff = size_field(file, prefix + "feed_forward_length");
    config.heads = size_field(file, prefix + "attention.head_count");
    config.kv_heads = size_field(file, prefix + "attention.head_count_kv", config.heads);
    config.context = size_field(file, prefix + "context_length");
    if (!file.has(prefix + "attention.key_length") && config.d_model % config.heads)
        file.fail(prefix + "embedding_length is no multiple of attention.head_count");
    config.head_dim = size_field(file, prefix + "attention.key_length", config.d_model / config.heads);
    config.norm_eps = static_cast<float>(file.real(prefix + "attention.layer_norm_rms_epsilon"));
    config.rope_base = file.real_or(prefix + "rope.freq_base", 10000.0);
    if (config.architecture == "gemma3") read_gemma3(file, prefix, config);
    check_relations(file, prefix, config);
    refuse_variants(file, prefix, config);
    const GgufTensor* embed = file.find_tensor("token_embd.weight");
    if (!embed) file.fail("tensor token_embd.weight is missing");
    config.vocab = embed->shape.front();
    config.tied_head = file.find_tensor("output.weight") == nullptr;
    return config;
}

}  // namespace savepoint
