#include "core/model/gguf_config.h"

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
    if (config.architecture != "llama")
        file.fail("general.architecture is '" + config.architecture + "'; this Savepoint runs 'llama'");
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
    check_relations(file, prefix, config);
    refuse_variants(file, prefix, config);
    const GgufTensor* embed = file.find_tensor("token_embd.weight");
    if (!embed) file.fail("tensor token_embd.weight is missing");
    config.vocab = embed->shape.front();
    config.tied_head = file.find_tensor("output.weight") == nullptr;
    return config;
}

}  // namespace savepoint
