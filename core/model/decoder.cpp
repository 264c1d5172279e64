#include "core/model/decoder.h"

#include <algorithm>
#include <cmath>
#include <cstring>

namespace savepoint {

bool Decoder::supports(const ModelConfig& c) {
    return c.norm == NormKind::rms && c.activation == ActivationKind::silu && c.gated_mlp && !c.attention_bias &&
           !c.qk_norm && c.d_model % 32 == 0 && c.d_ff % 32 == 0 && c.q_dim() % 32 == 0 && c.head_dim % 16 == 0;
}

Decoder::Decoder(std::shared_ptr<const Weights> weights, RotaryTable& rotary, int threads, const Kernels& kernels)
    : weights_(std::move(weights)), config_(weights_->config()), rotary_(rotary), kernels_(kernels), team_(threads) {
    for (int64_t layer = 0; layer < config_.layers; ++layer) {
        const std::string name = "blocks." + std::to_string(layer) + ".";
        const auto matrix = [&](const char* role) { return gemv_matrix(*weights_, name + role); };
        blocks_.push_back({weights_->tensor(name + "attn_norm").data_ptr<float>(),
                           weights_->tensor(name + "mlp_norm").data_ptr<float>(), matrix("q"), matrix("k"), matrix("v"),
                           matrix("o"), matrix("gate"), matrix("up"), matrix("down")});
    }
    final_norm_ = weights_->tensor("final_norm").data_ptr<float>();
    head_ = gemv_matrix(*weights_, config_.tied_head ? "embed" : "head");
    query_.resize(config_.q_dim());
    middle_.resize(config_.d_model);
    gate_.resize(config_.d_ff);
    up_.resize(config_.d_ff);
    const size_t widest = std::max({config_.d_model, config_.d_ff, config_.q_dim()});
    for (int i = 0; i < team_.size(); ++i) {
        scratch_.push_back({std::vector<float>(widest), std::vector<float>(widest), std::vector<float>(widest / 32),
                            std::vector<float>(config_.head_dim)});
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
    mix_heads(step, layer, resid, thread);
    team_.barrier();
    mlp_in(layer, thread);
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

// A task is one KV head and one chunk of tokens, with every query head of the group.
void Decoder::attention(const DecodeStep& step, int64_t layer, int thread) {
    const int64_t head_dim = config_.head_dim, group = config_.heads_per_kv(), stride = head_dim + 2;
    const int64_t tokens = step.position + 1, chunks = (tokens + attention_chunk - 1) / attention_chunk;
    const float scale = static_cast<float>(1.0 / std::sqrt(static_cast<double>(head_dim)));
    float* rotated = scratch_[thread].rotated.data();
    const Share tasks = share(config_.kv_heads * chunks, thread);
    for (int64_t task = tasks.first; task < tasks.last; ++task) {
        const int64_t kv_head = task / chunks, chunk = task % chunks, first = chunk * attention_chunk;
        if (chunk == chunks - 1) place_row(step, layer, kv_head);
        const int64_t at = (kv_head * step.capacity + first) * head_dim,
                      count = std::min(attention_chunk, tokens - first);
        for (int64_t head = kv_head * group; head < (kv_head + 1) * group; ++head) {
            rotate_head(query_.data() + head * head_dim, rotary_.cosines(step.position), rotary_.sines(step.position),
                        head_dim, rotated);
            kernels_.attend(rotated, step.cache_keys[layer] + at, step.cache_values[layer] + at, count, head_dim, scale,
                            partials_.data() + (head * chunks + chunk) * stride);
        }
    }
}

// Only the task of the last chunk of a KV head reads the row at `position`, so it may as well write it.
void Decoder::place_row(const DecodeStep& step, int64_t layer, int64_t kv_head) {
    const int64_t head_dim = config_.head_dim, from = kv_head * head_dim;
    float* key = step.key + layer * config_.kv_dim() + from;
    float* value = step.value + layer * config_.kv_dim() + from;
    if (!step.edit_keys.empty() && step.edit_keys[layer]) {
        std::memcpy(key, step.edit_keys[layer] + from, head_dim * sizeof(float));
        std::memcpy(value, step.edit_values[layer] + from, head_dim * sizeof(float));
    }
    const int64_t to = (kv_head * step.capacity + step.position) * head_dim;
    rotate_head(key, rotary_.cosines(step.position), rotary_.sines(step.position), head_dim,
                step.cache_keys[layer] + to);
    std::memcpy(step.cache_values[layer] + to, value, head_dim * sizeof(float));
}

void Decoder::mix_heads(const DecodeStep& step, int64_t layer, const float* resid, int thread) {
    const int64_t head_dim = config_.head_dim, stride = head_dim + 2, chunks = step.position / attention_chunk + 1;
    float* z = scratch_[thread].vector.data();
    for (int64_t head = 0; head < config_.heads; ++head)
        kernels_.combine(partials_.data() + head * chunks * stride, chunks, stride, head_dim, z + head * head_dim);
    const Share rows = multiply(blocks_[layer].o, prepared(z, config_.q_dim(), thread), middle_.data(), thread);
    for (int64_t i = rows.first; i < rows.last; ++i) middle_[i] += resid[i];
}

void Decoder::mlp_in(int64_t layer, int thread) {
    const Block& block = blocks_[layer];
    const PreparedVector x = normed(middle_.data(), block.mlp_norm, thread);
    const Share rows = multiply(block.gate, x, gate_.data(), thread);
    multiply(block.up, x, up_.data(), thread);
    kernels_.swiglu(gate_.data() + rows.first, up_.data() + rows.first, rows.last - rows.first);
}

void Decoder::mlp_out(const DecodeStep& step, int64_t layer, int thread) {
    float* out = step.hidden + layer * config_.d_model;
    const Share rows = multiply(blocks_[layer].down, prepared(gate_.data(), config_.d_ff, thread), out, thread);
    for (int64_t i = rows.first; i < rows.last; ++i) out[i] += middle_[i];
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

PreparedVector Decoder::prepared(const float* x, int64_t n, int thread) {
    Scratch& scratch = scratch_[thread];
    kernels_.prepare(x, n, scratch.scaled.data(), scratch.sums.data());
    return {x, scratch.scaled.data(), scratch.sums.data()};
}

}  // namespace savepoint
