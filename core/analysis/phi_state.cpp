#include "core/analysis/phi_state.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <limits>

#include "core/analysis/kv_head_layout.h"
#include "core/analysis/phi_recurrence_kernel.h"
#include "core/model/error.h"

namespace savepoint {

namespace {

constexpr int64_t kChunk = 64;
constexpr int64_t kFew = 24;         // up to so many tokens the recurrence costs less than products of matrices
constexpr float kSmallest = 1e-30f;  // below it float32 has lost what it summed

void check_rows(const at::Tensor& keys, const at::Tensor& values) {
    if (!keys.defined() || !values.defined() || keys.dim() != 4 || keys.sizes() != values.sizes())
        throw InputError("linear attention: keys and values must have one shape, tokens, layers, kv_heads, head_dim");
}

void make_zero(PhiState& state, int64_t layers, int64_t kv_heads, int64_t dim) {
    const int64_t f = state.phi->features();
    state.s = at::zeros({layers, kv_heads, f, dim}, at::kFloat);
    state.n = at::zeros({layers, kv_heads, f}, at::kFloat);
    state.absolute = state.phi->is_signed() ? at::zeros_like(state.n) : state.n;
    state.weight = at::zeros({layers, kv_heads}, at::kFloat);
    if (state.phi->exponential())
        state.log_max = at::full({layers, kv_heads}, -std::numeric_limits<float>::infinity(), at::kFloat);
}

// exp(old - moved), 0 where nothing was summed yet.
at::Tensor rescaling(const at::Tensor& old, const at::Tensor& moved) {
    return at::where(old.isinf(), at::zeros_like(old), (old - moved).exp());
}

// [tokens, layers, kv_heads, f] -> the features to sum, having moved log_max and rescaled what was there.
at::Tensor features_to_sum(PhiState& state, const at::Tensor& keys) {
    const at::Tensor mapped = state.phi->keys(keys);
    if (!state.phi->exponential()) return mapped;
    const at::Tensor moved = at::maximum(state.log_max, mapped.amax({0, 3}));
    const at::Tensor scale = rescaling(state.log_max, moved).unsqueeze(-1);
    state.n = state.n * scale;
    state.absolute = state.n;
    state.s = state.s * scale.unsqueeze(-1);
    state.log_max = moved;
    return (mapped - moved.unsqueeze(-1)).exp();
}

// What the tokens of a run read from those before their chunk: s [sets, f, d], n [sets, f, 1], log_max [sets, 1, 1].
struct Carry {
    at::Tensor s, n, log_max;
};

Carry carry_from(const Phi& phi, const PhiState* start, int64_t layers, int64_t kv_heads, int64_t dim) {
    const int64_t sets = layers * kv_heads, f = phi.features();
    if (!start || !start->s.defined())
        return {at::zeros({sets, f, dim}, at::kFloat), at::zeros({sets, f, 1}, at::kFloat),
                at::full({sets, 1, 1}, -std::numeric_limits<float>::infinity(), at::kFloat)};
    if (!start->phi || start->phi->settings() != phi.settings() ||
        start->s.sizes() != at::IntArrayRef({layers, kv_heads, f, dim}))
        throw InputError("linear attention: the state to go on from was made with another phi or of another model");
    const at::Tensor log_max = start->log_max.defined() ? start->log_max.reshape({sets, 1, 1}).clone() : at::Tensor();
    return {start->s.reshape({sets, f, dim}).clone(), start->n.reshape({sets, f, 1}).clone(), log_max};
}

// phi(k) of a chunk [sets, n, f], on the carry's scale, which moves.
at::Tensor chunk_features(const Phi& phi, const at::Tensor& mapped, Carry& carry) {
    if (!phi.exponential()) return mapped;
    const at::Tensor moved = at::maximum(carry.log_max, mapped.amax({1, 2}, true));
    const at::Tensor scale = rescaling(carry.log_max, moved);
    carry.s.mul_(scale);
    carry.n.mul_(scale);
    carry.log_max = moved;
    return (mapped - moved).exp();
}

void check_query(const at::Tensor& query, const at::Tensor& key) {
    if (!query.defined() || query.dim() != 4 || query.size(0) != key.size(0) || query.size(1) != key.size(1) ||
        query.size(2) % key.size(2) != 0 || query.size(3) != key.size(3))
        throw InputError("linear attention: queries and keys must differ in the number of heads alone");
}

void check_fit(const PhiState& state, const at::Tensor& keys) {
    if (state.s.size(0) != keys.size(1) || state.s.size(1) != keys.size(2) || state.s.size(3) != keys.size(3))
        throw InputError("linear attention: the state does not fit the tokens given");
}

// All heads' recurrences: feature [tokens, layers, kv_heads, f] and v as they are summed. Denominators [tokens, layers,
// heads] come in `denominator`.
at::Tensor recur(PhiState& state, const at::Tensor& q, const at::Tensor& feature, const at::Tensor& v,
                 at::Tensor& denominator) {
    const int64_t tokens = q.size(0), layers = q.size(1), heads = q.size(2), kv_heads = v.size(2), dim = v.size(3);
    const int64_t f = q.size(3), group = heads / kv_heads;
    at::Tensor out = at::empty({tokens, layers, heads, dim}, at::kFloat);
    denominator = at::empty({tokens, layers, heads}, at::kFloat);
    for (int64_t layer = 0; layer < layers; ++layer)
        for (int64_t i = 0; i < kv_heads; ++i) {
            const int64_t kv = layer * kv_heads + i, query = layer * heads + i * group;
            run_recurrence({tokens, f, dim, group, q.const_data_ptr<float>() + query * f,
                            feature.const_data_ptr<float>() + kv * f, v.const_data_ptr<float>() + kv * dim,
                            layers * heads * f, layers * kv_heads * f, layers * kv_heads * dim,
                            state.s.data_ptr<float>() + kv * f * dim, state.n.data_ptr<float>() + kv * f,
                            out.data_ptr<float>() + query * dim, denominator.data_ptr<float>() + query,
                            layers * heads * dim, layers * heads});
        }
    return out;
}

}  // namespace

void PhiState::add(const at::Tensor& keys, const at::Tensor& values, const at::Tensor& weights) {
    check_rows(keys, values);
    if (!phi) throw InputError("linear attention: the state has no phi");
    const int64_t count = keys.size(0), layers = keys.size(1), kv_heads = keys.size(2), dim = keys.size(3);
    if (weights.defined() && weights.sizes() != keys.sizes().slice(0, 3))
        throw InputError("linear attention: weights must be one a token, layer and KV head");
    if (count == 0) return;
    if (!s.defined()) make_zero(*this, layers, kv_heads, dim);
    check_fit(*this, keys);
    at::Tensor feature = features_to_sum(*this, keys.to(at::kCPU, at::kFloat));
    if (weights.defined()) feature = feature * weights.to(at::kFloat).unsqueeze(-1);
    feature = feature.permute({1, 2, 3, 0});  // [layers, kv_heads, f, tokens]
    s = s + at::matmul(feature, values.to(at::kCPU, at::kFloat).permute({1, 2, 0, 3}));
    n = n + feature.sum(3);
    absolute = phi->is_signed() ? absolute + feature.abs().sum(3) : n;
    weight = weight + (weights.defined() ? weights.to(at::kFloat).sum(0) : at::full_like(weight, count));
    tokens += count;
}

PhiRun::PhiRun(std::shared_ptr<const Phi> phi, at::Tensor keys, at::Tensor values, int64_t stride)
    : keys_(std::move(keys)), values_(std::move(values)), stride_(std::max<int64_t>(stride, 1)) {
    check_rows(keys_, values_);
    PhiState state;
    state.phi = std::move(phi);
    kept_.push_back(state);
    for (int64_t first = 0; first + stride_ <= tokens(); first += stride_) {
        state.add(keys_.slice(0, first, first + stride_), values_.slice(0, first, first + stride_));
        kept_.push_back(state);
    }
}

PhiState PhiRun::after(int64_t tokens) const {
    if (tokens < 0 || tokens > keys_.size(0)) throw InputError("linear attention: no such token in this run");
    PhiState state = kept_[static_cast<size_t>(tokens / stride_)];
    const int64_t first = tokens / stride_ * stride_;
    state.add(keys_.slice(0, first, tokens), values_.slice(0, first, tokens));
    return state;
}

PhiReadOut read_out(const Phi& phi, const at::Tensor& query, const at::Tensor& key, const at::Tensor& value,
                    const PhiState* start) {
    check_rows(key, value);
    const int64_t tokens = key.size(0), layers = key.size(1), kv_heads = key.size(2), dim = key.size(3);
    check_query(query, key);
    const at::Tensor q = phi.queries(query.to(at::kCPU, at::kFloat)), k = phi.keys(key.to(at::kCPU, at::kFloat));
    const at::Tensor v = value.to(at::kCPU, at::kFloat);
    const int64_t sets = layers * kv_heads, before = start ? start->tokens : 0;
    Carry carry = carry_from(phi, start, layers, kv_heads, dim);
    PhiReadOut out{at::empty(query.sizes(), at::kFloat), at::zeros({tokens}, at::kLong)};
    for (int64_t first = 0; first < tokens; first += kChunk) {
        const int64_t last = std::min(first + kChunk, tokens), n = last - first;
        const at::Tensor rows = by_kv_head(q.slice(0, first, last), kv_heads);
        const at::Tensor keys = chunk_features(phi, by_kv_head(k.slice(0, first, last), kv_heads), carry);
        const at::Tensor values = by_kv_head(v.slice(0, first, last), kv_heads);
        const int64_t count = rows.size(1);
        const at::Tensor scores = at::bmm(rows, keys.transpose(1, 2)).view({sets, count / n, n, n}).tril_();
        const at::Tensor flat = scores.view({sets, count, n});
        at::Tensor mixed = at::bmm(flat, values).baddbmm_(rows, carry.s);
        if (phi.is_signed()) {
            const at::Tensor seen = at::arange(before + first + 1, before + last + 1, at::kFloat);
            mixed.div_(seen.repeat({count / n}).view({1, count, 1}));
        } else {
            const at::Tensor denominator = flat.sum(2, true).baddbmm_(rows, carry.n);
            const at::Tensor lost = denominator < kSmallest;
            out.masked.slice(0, first, last).copy_(lost.view({sets * (count / n), n}).sum(0));
            mixed = at::where(lost, at::zeros_like(mixed), mixed / denominator.clamp_min(kSmallest));
        }
        out.values.slice(0, first, last).copy_(from_kv_head(mixed, n, layers, kv_heads));
        if (last == tokens) break;
        carry.s.baddbmm_(keys.transpose(1, 2), values);
        carry.n.add_(keys.sum(1).unsqueeze(2));
    }
    return out;
}

PhiReadOut read_on(PhiState& state, const at::Tensor& query, const at::Tensor& key, const at::Tensor& value) {
    check_rows(key, value);
    check_query(query, key);
    const int64_t tokens = key.size(0), layers = key.size(1), kv_heads = key.size(2), dim = key.size(3);
    if (!state.phi) throw InputError("linear attention: the state has no phi");
    if (tokens == 0 || tokens > kFew) {
        PhiReadOut out = read_out(*state.phi, query, key, value, &state);
        state.add(key, value);
        return out;
    }
    const Phi& phi = *state.phi;
    if (!state.s.defined()) make_zero(state, layers, kv_heads, dim);
    check_fit(state, key);
    const at::Tensor feature = features_to_sum(state, key.to(at::kCPU, at::kFloat)).contiguous();
    state.s = state.s.clone(at::MemoryFormat::Contiguous);
    state.n = state.n.clone(at::MemoryFormat::Contiguous);
    at::Tensor denominator;
    at::Tensor mixed = recur(state, phi.queries(query.to(at::kCPU, at::kFloat)).contiguous(), feature,
                             value.to(at::kCPU, at::kFloat).contiguous(), denominator);
    state.absolute = phi.is_signed() ? state.absolute + feature.abs().sum(0) : state.n;
    state.weight = state.weight + static_cast<double>(tokens);
    const int64_t before = state.tokens;
    state.tokens += tokens;
    if (phi.is_signed()) {
        mixed.div_(at::arange(before + 1, state.tokens + 1, at::kFloat).view({-1, 1, 1, 1}));
        return {mixed, at::zeros({tokens}, at::kLong)};
    }
    const at::Tensor lost = denominator < kSmallest;
    mixed.div_(denominator.clamp_min(kSmallest).unsqueeze(-1)).masked_fill_(lost.unsqueeze(-1), 0);
    return {mixed, lost.sum({1, 2})};
}

}  // namespace savepoint
