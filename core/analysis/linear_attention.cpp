#include "core/analysis/linear_attention.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <sstream>

#include "core/analysis/kv_head_layout.h"
#include "core/model/error.h"

namespace savepoint {

namespace {

// 64 x 64 score tiles: as large as the carried state, so that both products of a chunk cost the same.
constexpr int64_t kChunk = 64;
// Prefix states are head_dim times larger than what they are made from: short chunks keep them in cache.
constexpr int64_t kPrefixChunk = 16;
// With elu1, |numerator| <= denominator * max |v|, so a floor this small bounds the result and never biases it.
constexpr double kSmallestDenominator = 1e-30;

std::string shape_of(const at::Tensor& x) {
    std::ostringstream out;
    if (x.defined())
        out << x.sizes();
    else
        out << "nothing";
    return out.str();
}

void check(bool ok, const char* what, const at::Tensor& a, const at::Tensor& b) {
    if (!ok)
        throw InputError(std::string("linear attention: ") + what + "; given " + shape_of(a) + " and " + shape_of(b));
}

at::Tensor to_float(const at::Tensor& x) { return x.to(at::kCPU, at::kFloat); }

void check_key_value(const at::Tensor& key, const at::Tensor& value, int64_t dims) {
    const bool ok = key.defined() && value.defined() && key.dim() == dims && key.sizes() == value.sizes();
    check(ok, "keys and values must have one shape, [tokens,] layers, kv_heads, head_dim", key, value);
}

void check_query(const at::Tensor& query, const at::Tensor& key) {
    const int64_t dims = key.dim();
    bool ok = query.defined() && query.dim() == dims && key.size(dims - 2) > 0;
    for (int64_t i = 0; ok && i < dims; ++i) {
        if (i != dims - 2)
            ok = query.size(i) == key.size(i);
        else
            ok = query.size(i) % key.size(i) == 0;
    }
    check(ok, "queries and keys must differ in the number of heads alone, which must be a multiple", query, key);
}

void check_state(const LinearAttentionState& state, int64_t layers, int64_t kv_heads, int64_t dim) {
    const bool empty = !state.s.defined() && !state.n.defined() && state.tokens == 0;
    const bool fits = state.s.defined() && state.n.defined() &&
                      state.s.sizes() == at::IntArrayRef({layers, kv_heads, dim, dim}) &&
                      state.n.sizes() == at::IntArrayRef({layers, kv_heads, dim});
    check(empty || fits, "the state does not fit the tokens given", state.s, state.n);
}

void make_zero(LinearAttentionState& state, int64_t layers, int64_t kv_heads, int64_t dim) {
    if (state.s.defined()) return;
    state.s = at::zeros({layers, kv_heads, dim, dim}, at::kFloat);
    state.n = at::zeros({layers, kv_heads, dim}, at::kFloat);
}

// Copies of a state share its tensors until one of them writes.
void own(at::Tensor& x) {
    if (x.use_count() > 1 || x.storage().use_count() > 1) x = x.clone();
}

void own(LinearAttentionState& state) {
    own(state.s);
    own(state.n);
}

// The sums that later tokens of a run read: s [layers * kv_heads, f, d], n [layers * kv_heads, f, 1].
struct Carry {
    at::Tensor s, n;
};

Carry carry_from(const LinearAttentionState* start, int64_t layers, int64_t kv_heads, int64_t dim) {
    const int64_t batch = layers * kv_heads;
    if (start && start->s.defined())
        return {start->s.reshape({batch, dim, dim}).clone(), start->n.reshape({batch, dim, 1}).clone()};
    return {at::zeros({batch, dim, dim}, at::kFloat), at::zeros({batch, dim, 1}, at::kFloat)};
}

struct Chunk {
    at::Tensor query;       // phi(q) [layers * kv_heads, group * tokens, f]
    at::Tensor key, value;  // phi(k), v [layers * kv_heads, tokens, f or d]
    int64_t tokens;
    int64_t before;  // tokens before the chunk
};

// Causal: token t reads the keys of its chunk up to itself, and all of the carried sums.
at::Tensor read_chunk(const Chunk& chunk, const Carry& carry, FeatureMap map) {
    const int64_t batch = chunk.query.size(0), rows = chunk.query.size(1), n = chunk.tokens;
    at::Tensor scores = at::bmm(chunk.query, chunk.key.transpose(1, 2)).view({batch, rows / n, n, n}).tril_();
    scores = scores.view({batch, rows, n});
    at::Tensor out = at::bmm(scores, chunk.value).baddbmm_(chunk.query, carry.s);
    if (map == FeatureMap::elu1) {
        at::Tensor denominator = scores.sum(2, true).baddbmm_(chunk.query, carry.n);
        return out.div_(denominator.clamp_min_(kSmallestDenominator));
    }
    at::Tensor seen = at::arange(chunk.before + 1, chunk.before + n + 1, at::kFloat);
    return out.div_(seen.repeat({rows / n}).view({1, rows, 1}));
}

void extend(Carry& carry, const Chunk& chunk) {
    at::Tensor transposed = chunk.key.transpose(1, 2);
    carry.s.baddbmm_(transposed, chunk.value);
    carry.n.add_(transposed.sum(2, true));
}

}  // namespace

std::string to_string(FeatureMap map) { return map == FeatureMap::identity ? "identity" : "elu1"; }

FeatureMap feature_map_from(const std::string& name) {
    if (name == "identity") return FeatureMap::identity;
    if (name == "elu1") return FeatureMap::elu1;
    throw InputError("feature map '" + name + "' is unknown; use identity or elu1");
}

at::Tensor apply(FeatureMap map, const at::Tensor& x) {
    if (map == FeatureMap::identity) return x;
    // elu(x) + 1 is e^x below zero; written so, since (e^x - 1) + 1 rounds small features away.
    return at::exp(x.clamp_max(0)).add_(x.clamp_min(0));
}

void LinearAttentionState::add(const at::Tensor& key, const at::Tensor& value) {
    check_key_value(key, value, 3);
    check_state(*this, key.size(0), key.size(1), key.size(2));
    make_zero(*this, key.size(0), key.size(1), key.size(2));
    own(*this);
    const at::Tensor feature = apply(map, to_float(key));
    s.addcmul_(feature.unsqueeze(-1), to_float(value).unsqueeze(-2));
    n.add_(feature);
    ++tokens;
}

void LinearAttentionState::add_all(const at::Tensor& keys, const at::Tensor& values) {
    check_key_value(keys, values, 4);
    const int64_t layers = keys.size(1), kv_heads = keys.size(2), dim = keys.size(3);
    check_state(*this, layers, kv_heads, dim);
    if (keys.size(0) == 0) return;
    make_zero(*this, layers, kv_heads, dim);
    own(*this);
    const at::Tensor feature = apply(map, to_float(keys)).permute({1, 2, 3, 0});
    s.add_(at::matmul(feature, to_float(values).permute({1, 2, 0, 3})));
    n.add_(feature.sum(3));
    tokens += keys.size(0);
}

at::Tensor normalized_rows(const LinearAttentionState& state) {
    check(state.s.defined() && state.n.defined(), "the state is empty", state.s, state.n);
    if (state.map == FeatureMap::identity) return state.s / static_cast<double>(std::max<int64_t>(state.tokens, 1));
    return state.s / state.n.clamp_min(kSmallestDenominator).unsqueeze(-1);
}

LinearAttentionStates prefix_states(const at::Tensor& key, const at::Tensor& value, FeatureMap map) {
    check_key_value(key, value, 4);
    const int64_t tokens = key.size(0), layers = key.size(1), kv_heads = key.size(2), dim = key.size(3);
    const at::Tensor feature = apply(map, to_float(key)), v = to_float(value);
    LinearAttentionStates states{at::empty({tokens, layers, kv_heads, dim, dim}, at::kFloat),
                                 at::empty({tokens, layers, kv_heads, dim}, at::kFloat)};
    for (int64_t first = 0; first < tokens; first += kPrefixChunk) {
        const int64_t last = std::min(first + kPrefixChunk, tokens);
        at::Tensor s = states.s.slice(0, first, last), n = states.n.slice(0, first, last);
        at::mul_out(s, feature.slice(0, first, last).unsqueeze(-1), v.slice(0, first, last).unsqueeze(-2));
        n.copy_(feature.slice(0, first, last));
        for (int64_t t = std::max<int64_t>(first, 1); t < last; ++t) {
            states.s[t].add_(states.s[t - 1]);
            states.n[t].add_(states.n[t - 1]);
        }
    }
    return states;
}

at::Tensor read_out(const at::Tensor& query, const at::Tensor& key, const at::Tensor& value, FeatureMap map,
                    const LinearAttentionState* start) {
    check_key_value(key, value, 4);
    check_query(query, key);
    const int64_t tokens = key.size(0), layers = key.size(1), kv_heads = key.size(2), dim = key.size(3);
    if (start) {
        check_state(*start, layers, kv_heads, dim);
        check(start->map == map, "the start state was made with another feature map", start->s, start->n);
    }
    const at::Tensor q = to_float(query).contiguous(), k = to_float(key).contiguous(), v = to_float(value).contiguous();
    Carry carry = carry_from(start, layers, kv_heads, dim);
    at::Tensor out = at::empty(q.sizes(), at::kFloat);
    for (int64_t first = 0; first < tokens; first += kChunk) {
        const int64_t last = std::min(first + kChunk, tokens);
        const Chunk chunk{apply(map, by_kv_head(q.slice(0, first, last), kv_heads)),
                          apply(map, by_kv_head(k.slice(0, first, last), kv_heads)),
                          by_kv_head(v.slice(0, first, last), kv_heads), last - first,
                          first + (start ? start->tokens : 0)};
        out.slice(0, first, last).copy_(from_kv_head(read_chunk(chunk, carry, map), last - first, layers, kv_heads));
        if (last < tokens) extend(carry, chunk);
    }
    return out;
}

at::Tensor read_out_one(const at::Tensor& query, const LinearAttentionState& state) {
    check(state.s.defined() && state.n.defined() && state.tokens > 0, "the state is empty", state.s, state.n);
    check_query(query, state.n);
    const int64_t layers = state.n.size(0), kv_heads = state.n.size(1), dim = state.n.size(2);
    check_state(state, layers, kv_heads, dim);
    const int64_t batch = layers * kv_heads;
    const at::Tensor q = apply(state.map, to_float(query)).reshape({batch, query.size(1) / kv_heads, dim});
    at::Tensor out = at::bmm(q, state.s.reshape({batch, dim, dim}));
    if (state.map == FeatureMap::elu1)
        out.div_(at::bmm(q, state.n.reshape({batch, dim, 1})).clamp_min_(kSmallestDenominator));
    else
        out.div_(static_cast<double>(state.tokens));
    return out.view(query.sizes());
}

}  // namespace savepoint
