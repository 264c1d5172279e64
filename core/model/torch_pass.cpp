#include "core/model/torch_pass.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>

namespace savepoint {

namespace {

// Queries at a time: bounds the scores to [heads, 256, keys], and leaves out keys that come later.
constexpr int64_t kQueryTile = 256;

at::Tensor hooked(const TorchPass& pass, const std::string& name, at::Tensor activation) {
    return pass.hooks ? pass.hooks->run(name, std::move(activation)) : activation;
}

void keep(const TorchPass& pass, at::Tensor StateRows::*member, int64_t layer, const at::Tensor& activation) {
    if (!pass.rows || !(pass.rows->*member).defined()) return;
    at::Tensor target = (pass.rows->*member).select(1, layer);
    target.copy_(activation.reshape(target.sizes()));
}

const KvRow* edited_kv(const TorchPass& pass, int64_t layer) {
    if (!pass.edit) return nullptr;
    for (const KvRow& row : pass.edit->kv)
        if (row.block == layer) return &row;
    return nullptr;
}

at::Tensor with_row(const at::Tensor& activation, int64_t token, const at::Tensor& row) {
    at::Tensor changed = activation.clone();
    changed.select(1, token).copy_(row.reshape({1, -1}).reshape(changed.select(1, token).sizes()));
    return changed;
}

// softmax(q k^T / sqrt(d)) of queries whose first is token `first` of the path: [groups, queries, keys].
at::Tensor pattern_of(const at::Tensor& q, const at::Tensor& k, int64_t heads_per_kv, int64_t first) {
    const int64_t tokens = q.size(1) / heads_per_kv, keys = k.size(1);
    const double scale = 1.0 / std::sqrt(static_cast<double>(q.size(2)));
    at::Tensor scores = at::bmm(q, k.transpose(1, 2)).mul_(scale);
    if (tokens > 1) {
        const at::Tensor late = at::ones({tokens, keys}, q.options().dtype(at::kBool)).triu_(first + 1);
        scores.view({-1, heads_per_kv, tokens, keys}).masked_fill_(late, -std::numeric_limits<float>::infinity());
    }
    return at::softmax(scores, -1);
}

}  // namespace

TorchModel::TorchModel(std::shared_ptr<const Weights> weights, RotaryTable& rotary, c10::Device device)
    : weights_(std::move(weights)), config_(weights_->config()), rotary_(rotary), device_(device) {
    const auto get = [&](const std::string& name) { return weights_->tensor(name).to(device_); };
    for (int64_t layer = 0; layer < config_.layers; ++layer) {
        const std::string name = "blocks." + std::to_string(layer) + ".";
        const auto linear = [&](const char* role) { return Linear(get(name + role)); };
        blocks_.push_back({get(name + "attn_norm"), linear("q"), linear("k"), linear("v"), linear("o"),
                           get(name + "mlp_norm"), linear("gate"), linear("up"), linear("down")});
    }
    embed_ = get("embed");
    final_norm_ = get("final_norm");
    head_ = config_.tied_head ? embed_ : get("head");
}

at::Tensor TorchModel::embed(const at::Tensor& ids) const { return at::embedding(embed_, ids.to(device_)); }

at::Tensor TorchModel::norm(const at::Tensor& x, const at::Tensor& weight) const {
    const at::Tensor scale = x.square().mean(-1, true).add_(config_.norm_eps).rsqrt_();
    return (x * scale).mul_(weight);
}

at::Tensor TorchModel::final_norm(const at::Tensor& resid) const { return norm(resid, final_norm_); }

at::Tensor TorchModel::head(const at::Tensor& normed) const { return at::linear(normed, head_); }

at::Tensor TorchModel::query(const at::Tensor& resid_pre, int64_t layer) const {
    const Block& block = blocks_[layer];
    return block.q(norm(resid_pre, block.attn_norm)).unflatten(-1, {config_.heads, config_.head_dim});
}

at::Tensor TorchModel::run(const TorchPass& pass) {
    at::Tensor resid = pass.resid;
    if (pass.first_block == 0) resid = hooked(pass, "hook_embed", resid);
    for (int64_t layer = pass.first_block; layer < config_.layers; ++layer) {
        const std::string name = "blocks." + std::to_string(layer) + ".";
        resid = hooked(pass, name + "hook_resid_pre", resid);
        resid = hooked(pass, name + "hook_resid_mid",
                       resid + hooked(pass, name + "hook_attn_out", attention(pass, layer, resid)));
        resid = resid + hooked(pass, name + "hook_mlp_out", mlp(blocks_[layer], resid));
        if (pass.edit && pass.edit->hidden_block == layer)
            resid = with_row(resid, pass.edit->position - pass.past, pass.edit->hidden);
        resid = hooked(pass, name + "hook_resid_post", resid);
        keep(pass, &StateRows::hidden, layer, resid);
    }
    return resid;
}

at::Tensor TorchModel::attention(const TorchPass& pass, int64_t layer, const at::Tensor& resid) {
    const Block& block = blocks_[layer];
    const std::string name = "blocks." + std::to_string(layer) + ".attn.";
    const at::Tensor x = norm(resid, block.attn_norm);
    const auto heads_of = [&](const Linear& linear) { return linear(x).unflatten(-1, {-1, config_.head_dim}); };
    at::Tensor q = hooked(pass, name + "hook_q", heads_of(block.q));
    at::Tensor k = heads_of(block.k), v = heads_of(block.v);
    if (const KvRow* row = edited_kv(pass, layer)) {
        k = with_row(k, pass.edit->position - pass.past, row->key);
        v = with_row(v, pass.edit->position - pass.past, row->value);
    }
    k = hooked(pass, name + "hook_k", k);
    v = hooked(pass, name + "hook_v", v);
    keep(pass, &StateRows::key, layer, k);
    keep(pass, &StateRows::value, layer, v);
    // [batch, tokens, heads, d] -> [batch, heads, tokens, d], and back for the hooks, which see token-major.
    const auto turned = [&](const at::Tensor& t, const char* hook) {
        const at::Tensor rotated = rotary_.rotate(t.transpose(1, 2), pass.past);
        return pass.hooks ? pass.hooks->run(name + hook, rotated.transpose(1, 2)).transpose(1, 2) : rotated;
    };
    q = turned(q, "hook_rot_q");
    k = turned(k, "hook_rot_k");
    v = v.transpose(1, 2);
    if (pass.cache) {
        const int64_t tokens = q.size(2), end = pass.past + tokens;
        pass.cache->keys(layer).narrow(2, pass.past, tokens).copy_(k);
        pass.cache->values(layer).narrow(2, pass.past, tokens).copy_(v);
        k = pass.cache->keys(layer).narrow(2, 0, end);
        v = pass.cache->values(layer).narrow(2, 0, end);
    }
    if (pass.prefix_key.defined()) {
        k = at::cat({rotary_.rotate(pass.prefix_key.select(2, layer).transpose(1, 2), 0), k}, 2);
        v = at::cat({pass.prefix_value.select(2, layer).transpose(1, 2), v}, 2);
    }
    const at::Tensor z = hooked(pass, name + "hook_z", mix(pass, name, q, k, v));
    return block.o(z.flatten(2));
}

// The heads' outputs, [batch, tokens, heads, head_dim]; query heads of a KV head are handled as more rows.
at::Tensor TorchModel::mix(const TorchPass& pass, const std::string& name, const at::Tensor& q, const at::Tensor& k,
                           const at::Tensor& v) const {
    const int64_t batch = q.size(0), tokens = q.size(2), d = config_.head_dim, group = config_.heads_per_kv();
    const bool shown = pass.hooks && pass.hooks->wants(name + "hook_pattern");
    const int64_t tile = shown ? tokens : kQueryTile;
    const int64_t first_key = k.size(2) - tokens;
    std::vector<at::Tensor> parts;
    for (int64_t from = 0; from < tokens; from += tile) {
        const int64_t count = std::min(tile, tokens - from), keys = first_key + from + count;
        const at::Tensor rows = q.narrow(2, from, count).reshape({batch * config_.kv_heads, group * count, d});
        const at::Tensor k_seen = k.narrow(2, 0, keys).reshape({-1, keys, d}),
                         v_seen = v.narrow(2, 0, keys).reshape({-1, keys, d});
        at::Tensor pattern = pattern_of(rows, k_seen, group, first_key + from);
        if (shown)
            pattern = pass.hooks->run(name + "hook_pattern", pattern.view({batch, config_.heads, count, keys}))
                          .reshape(pattern.sizes());
        parts.push_back(at::bmm(pattern, v_seen).view({batch, config_.heads, count, d}));
    }
    const at::Tensor z = parts.size() == 1 ? parts.front() : at::cat(parts, 2);
    return z.transpose(1, 2).contiguous();
}

at::Tensor TorchModel::mlp(const Block& block, const at::Tensor& resid) const {
    const at::Tensor x = norm(resid, block.mlp_norm);
    return block.down(at::silu(block.gate(x)).mul_(block.up(x)));
}

}  // namespace savepoint
