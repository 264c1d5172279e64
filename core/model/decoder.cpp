#include "core/model/decoder.h"

#include <algorithm>
#include <cstring>

namespace savepoint {

bool Decoder::supports(const ModelConfig& c) {
    return c.norm == NormKind::rms && c.activation != ActivationKind::gelu && c.gated_mlp && !c.attention_bias &&
           c.d_model % 32 == 0 && c.d_ff % 32 == 0 && c.q_dim() % 32 == 0 && c.head_dim % 16 == 0;
}

Decoder::Decoder(std::shared_ptr<const Weights> weights, Rotary& rotary, int threads, const Kernels& kernels)
    : weights_(std::move(weights)), config_(weights_->config()), rotary_(rotary), kernels_(kernels), team_(threads) {
    for (int64_t layer = 0; layer < config_.layers; ++layer) {
        const std::string name = "blocks." + std::to_string(layer) + ".";
        const auto norm = [&](const char* role, bool there = true) -> const float* {
            return there ? weights_->tensor(name + role).data_ptr<float>() : nullptr;
        };
        const auto matrix = [&](const char* role) { return gemv_matrix(*weights_, name + role); };
        blocks_.push_back({norm("attn_norm"), norm("mlp_norm"), norm("q_norm", config_.qk_norm),
                           norm("k_norm", config_.qk_norm), norm("attn_post_norm", config_.post_norm),
                           norm("mlp_post_norm", config_.post_norm), matrix("q"), matrix("k"), matrix("v"), matrix("o"),
                           matrix("gate"), matrix("up"), matrix("down")});
    }
    final_norm_ = weights_->tensor("final_norm").data_ptr<float>();
    head_ = gemv_matrix(*weights_, config_.tied_head ? "embed" : "head");
    query_.resize(config_.q_dim());
    attn_out_.resize(config_.d_model);
    mlp_out_.resize(config_.d_model);
    gate_.resize(config_.d_ff);
    up_.resize(config_.d_ff);
    const size_t widest = std::max({config_.d_model, config_.d_ff, config_.q_dim()});
    for (int i = 0; i < team_.size(); ++i) {
        scratch_.push_back({std::vector<float>(widest), std::vector<float>(widest), std::vector<float>(widest / 32),
                            std::vector<float>(config_.head_dim), std::vector<float>(config_.d_model)});
    }
}

void Decoder::step(const DecodeStep& step) {
    rotary_.reserve(step.position + 1);
    const int64_t chunks = step.position / attention_chunk + 1;
    const size_t needed = chunks * config_.heads * (config_.head_dim + 2);
    if (partials_.size() < needed) partials_.resize(2 * needed);
    team_.run([&](int thread) { work(step, thread); });
}

void Decoder::head(const float* resid, int64_t count, float* logits) {
    team_.run([&](int thread) { head_rows(resid, count, logits, thread); });
}

void Decoder::work(const DecodeStep& step, int thread) {
    const float* resid = step.resid;
    for (int64_t layer = step.first_block; layer < config_.layers; ++layer) {
        run_block(step, layer, resid, thread);
        resid = step.hidden + layer * config_.d_model;
    }
    if (step.logits) head_rows(resid, 1, step.logits, thread);
}

void Decoder::run_block(const DecodeStep& step, int64_t layer, const float* resid, int thread) {
    project(step, layer, resid, thread);
    team_.barrier();
    attention(step, layer, thread);
    team_.barrier();
    mix_heads(step, layer, thread);
    team_.barrier();
    mlp_in(layer, resid, thread);
    team_.barrier();
    mlp_out(step, layer, thread);
    team_.barrier();
}

void Decoder::project(const DecodeStep& step, int64_t layer, const float* resid, int thread) {
    const Block& block = blocks_[layer];
    const PreparedVector x = normed(resid, block.attn_norm, thread);
    multiply(block.q, x, query_.data(), thread);
    multiply(block.k, x, step.key + layer * config_.kv_dim(), thread);
    multiply(block.v, x, step.value + layer * config_.kv_dim(), thread);
}

Decoder::Sight Decoder::sight(const DecodeStep& step, int64_t layer) const {
    const int64_t first = config_.first_key(layer, step.position), first_chunk = first / attention_chunk;
    return {first, first_chunk, step.position / attention_chunk + 1 - first_chunk};
}

// A task is one KV head and one chunk of tokens, with every query head of the group.
void Decoder::attention(const DecodeStep& step, int64_t layer, int thread) {
    const int64_t head_dim = config_.head_dim, group = config_.heads_per_kv(), stride = head_dim + 2;
    const Sight seen = sight(step, layer);
    const float scale = static_cast<float>(config_.attention_scale());
    const Share tasks = share(config_.kv_heads * seen.chunks, thread);
    for (int64_t task = tasks.first; task < tasks.last; ++task) {
        const int64_t kv_head = task / seen.chunks, chunk = task % seen.chunks;
        const int64_t begin = (seen.first_chunk + chunk) * attention_chunk, first = std::max(begin, seen.first);
        if (chunk == seen.chunks - 1) {
            place_row(step, layer, kv_head);
            keep_queries(step, layer, kv_head, thread);
        }
        const int64_t at = (kv_head * step.capacity + first) * head_dim,
                      count = std::min(begin + attention_chunk, step.position + 1) - first;
        for (int64_t head = kv_head * group; head < (kv_head + 1) * group; ++head) {
            rotate_query(step, layer, head, thread);
            kernels_.attend(scratch_[thread].rotated.data(), step.cache_keys[layer] + at, step.cache_values[layer] + at,
                            count, head_dim, scale, partials_.data() + (head * seen.chunks + chunk) * stride);
        }
    }
}

// Normed where the model norms it; then it lies in the thread's scratch.
const float* Decoder::head_query(int64_t layer, int64_t head, int thread) {
    const float* query = query_.data() + head * config_.head_dim;
    const float* weight = blocks_[layer].q_norm;
    if (!weight) return query;
    float* normed = scratch_[thread].vector.data();
    kernels_.rms_norm(query, weight, config_.norm_eps, config_.head_dim, normed);
    return normed;
}

void Decoder::rotate_query(const DecodeStep& step, int64_t layer, int64_t head, int thread) {
    const RotaryTable& table = rotary_.of(layer);
    rotate_head(head_query(layer, head, thread), table.cosines(step.position), table.sines(step.position),
                config_.head_dim, scratch_[thread].rotated.data());
}

void Decoder::keep_queries(const DecodeStep& step, int64_t layer, int64_t kv_head, int thread) {
    if (!step.query) return;
    const int64_t group = config_.heads_per_kv(), head_dim = config_.head_dim;
    for (int64_t head = kv_head * group; head < (kv_head + 1) * group; ++head)
        std::memcpy(step.query + layer * config_.q_dim() + head * head_dim, head_query(layer, head, thread),
                    head_dim * sizeof(float));
}

// Only the task of the last chunk of a KV head reads the row at `position`, so it may as well write it.
void Decoder::place_row(const DecodeStep& step, int64_t layer, int64_t kv_head) {
    const int64_t head_dim = config_.head_dim, from = kv_head * head_dim;
    float* key = step.key + layer * config_.kv_dim() + from;
    float* value = step.value + layer * config_.kv_dim() + from;
    const RotaryTable& table = rotary_.of(layer);
    if (const float* weight = blocks_[layer].k_norm) kernels_.rms_norm(key, weight, config_.norm_eps, head_dim, key);
    if (!step.edit_keys.empty() && step.edit_keys[layer]) {
        std::memcpy(key, step.edit_keys[layer] + from, head_dim * sizeof(float));
        std::memcpy(value, step.edit_values[layer] + from, head_dim * sizeof(float));
    }
    const int64_t to = (kv_head * step.capacity + step.position) * head_dim;
    rotate_head(key, table.cosines(step.position), table.sines(step.position), head_dim, step.cache_keys[layer] + to);
    std::memcpy(step.cache_values[layer] + to, value, head_dim * sizeof(float));
}

void Decoder::mix_heads(const DecodeStep& step, int64_t layer, int thread) {
    const int64_t head_dim = config_.head_dim, stride = head_dim + 2, chunks = sight(step, layer).chunks;
    float* z = scratch_[thread].vector.data();
    for (int64_t head = 0; head < config_.heads; ++head)
        kernels_.combine(partials_.data() + head * chunks * stride, chunks, stride, head_dim, z + head * head_dim);
    multiply(blocks_[layer].o, prepared(z, config_.q_dim(), thread), attn_out_.data(), thread);
}

// Every thread adds up the whole residual stream for itself: as long as waiting for the others would take.
void Decoder::mlp_in(int64_t layer, const float* resid, int thread) {
    const Block& block = blocks_[layer];
    const float* added = post_normed(attn_out_.data(), block.attn_post_norm, thread);
    float* middle = scratch_[thread].middle.data();
    for (int64_t i = 0; i < config_.d_model; ++i) middle[i] = added[i] + resid[i];
    const PreparedVector x = normed(middle, block.mlp_norm, thread);
    const Share rows = multiply(block.gate, x, gate_.data(), thread);
    multiply(block.up, x, up_.data(), thread);
    const auto gate = config_.activation == ActivationKind::silu ? kernels_.swiglu : kernels_.geglu;
    gate(gate_.data() + rows.first, up_.data() + rows.first, rows.last - rows.first);
}

void Decoder::mlp_out(const DecodeStep& step, int64_t layer, int thread) {
    const Block& block = blocks_[layer];
    float* out = step.hidden + layer * config_.d_model;
    const float* middle = scratch_[thread].middle.data();
    const Share rows = multiply(block.down, prepared(gate_.data(), config_.d_ff, thread), mlp_out_.data(), thread);
    if (block.mlp_post_norm) team_.barrier();  // the norm is over the rows of all
    const float* added = post_normed(mlp_out_.data(), block.mlp_post_norm, thread);
    for (int64_t i = rows.first; i < rows.last; ++i) out[i] = added[i] + middle[i];
    if (layer == step.hidden_block)
        for (int64_t i = rows.first; i < rows.last; ++i) out[i] = step.edit_hidden[i];
}

// Several rows take a slice of the head at a time, so that it is read from memory once.
void Decoder::head_rows(const float* resid, int64_t count, float* logits, int thread) {
    constexpr int64_t kSlice = 8;
    const Share mine = share(head_.groups(), thread);
    if (count == 1) {
        multiply_groups(head_, normed(resid, final_norm_, thread), logits, mine);
        return;
    }
    for (int64_t group = mine.first; group < mine.last; group += kSlice)
        for (int64_t row = 0; row < count; ++row)
            multiply_groups(head_, normed(resid + row * config_.d_model, final_norm_, thread),
                            logits + row * config_.vocab, {group, std::min(group + kSlice, mine.last)});
}

Decoder::Share Decoder::share(int64_t count, int thread) const {
    return {count * thread / team_.size(), count * (thread + 1) / team_.size()};
}

// Returns the rows that this thread computed.
Decoder::Share Decoder::multiply(const GemvMatrix& matrix, const PreparedVector& x, float* y, int thread) const {
    const Share groups = share(matrix.groups(), thread);
    multiply_groups(matrix, x, y, groups);
    return {std::min(groups.first * 16, matrix.rows), std::min(groups.last * 16, matrix.rows)};
}

void Decoder::multiply_groups(const GemvMatrix& m, const PreparedVector& x, float* y, Share groups) const {
    if (!m.blocks)
        kernels_.gemv_f32(m.dense, groups.first, groups.last, m.rows, m.columns, x.plain, y);
    else if (gemv_has_minima(m.type))
        kernels_.gemv_q4_1(m.blocks, groups.first, groups.last, m.rows, m.columns, x.scaled, x.block_sums, y);
    else
        kernels_.gemv_q8_0(m.blocks, groups.first, groups.last, m.rows, m.columns, x.plain, y);
}

PreparedVector Decoder::normed(const float* x, const float* weight, int thread) {
    float* out = scratch_[thread].vector.data();
    kernels_.rms_norm(x, weight, config_.norm_eps, config_.d_model, out);
    return prepared(out, config_.d_model, thread);
}

// x itself without a weight.
const float* Decoder::post_normed(const float* x, const float* weight, int thread) {
    if (!weight) return x;
    float* out = scratch_[thread].vector.data();
    kernels_.rms_norm(x, weight, config_.norm_eps, config_.d_model, out);
    return out;
}

PreparedVector Decoder::prepared(const float* x, int64_t n, int thread) {
    Scratch& scratch = scratch_[thread];
    kernels_.prepare(x, n, scratch.scaled.data(), scratch.sums.data());
    return {x, scratch.scaled.data(), scratch.sums.data()};
}

}  // namespace savepoint
