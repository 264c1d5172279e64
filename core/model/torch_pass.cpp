#include "core/model/torch_pass.h"

#include <ATen/ATen.h>

#include <algorithm>

#include "core/model/checkpointed.h"

namespace savepoint {

namespace {

// Queries at a time: bounds the scores to [heads, 256, keys], and leaves out keys that come later.
constexpr int64_t kQueryTile = 256;

at::Tensor hooked(const TorchPass& pass, const std::string& name, at::Tensor activation) {
    return pass.hooks ? pass.hooks->run(name, std::move(activation)) : activation;
}

void fill(const at::Tensor& kept, int64_t layer, const at::Tensor& activation) {
    if (!kept.defined()) return;
    at::Tensor target = kept.select(1, layer);
    target.copy_(activation.reshape(target.sizes()));
}

void keep(const TorchPass& pass, at::Tensor StateRows::*member, int64_t layer, const at::Tensor& activation) {
    if (pass.rows) fill(pass.rows->*member, layer, activation);
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

// What queries see of keys: the first query's own key is number `first`. `window`: keys up to its own; 0: all.
struct Sight {
    int64_t heads_per_kv, first, window;
    double scale;
};

// softmax(scale q k^T): [groups, queries, keys].
at::Tensor pattern_of(const at::Tensor& q, const at::Tensor& k, const Sight& sight) {
    const int64_t tokens = q.size(1) / sight.heads_per_kv, keys = k.size(1);
    at::Tensor scores = at::bmm(q, k.transpose(1, 2)).mul_(sight.scale);
    const bool cuts = sight.window > 0 && sight.first + tokens > sight.window;
    if (tokens > 1 || cuts) {
        const at::Tensor all = at::ones({tokens, keys}, q.options().dtype(at::kBool));
        at::Tensor unseen = all.triu(sight.first + 1);
        if (cuts) unseen.logical_or_(all.tril(sight.first - sight.window));
        scores.view({-1, sight.heads_per_kv, tokens, keys})
            .masked_fill_(unseen, -std::numeric_limits<float>::infinity());
    }
    return at::softmax(scores, -1);
}

}  // namespace

TorchModel::TorchModel(std::shared_ptr<const Weights> weights, Rotary& rotary, c10::Device device)
    : weights_(std::move(weights)), config_(weights_->config()), rotary_(rotary), device_(device) {
    const auto get = [&](const std::string& name) { return weights_->tensor(name).to(device_); };
    for (int64_t layer = 0; layer < config_.layers; ++layer) {
        const std::string name = "blocks." + std::to_string(layer) + ".";
        const auto norm = [&](const char* role, bool there = true) { return there ? get(name + role) : at::Tensor(); };
        const auto linear = [&](const char* role) { return Linear(get(name + role)); };
        blocks_.push_back({norm("attn_norm"), norm("q_norm", config_.qk_norm), norm("k_norm", config_.qk_norm),
                           norm("attn_post_norm", config_.post_norm), linear("q"), linear("k"), linear("v"),
                           linear("o"), norm("mlp_norm"), norm("mlp_post_norm", config_.post_norm), linear("gate"),
                           linear("up"), linear("down")});
    }
    embed_ = get("embed");
    final_norm_ = get("final_norm");
    head_ = config_.tied_head ? embed_ : get("head");
}

at::Tensor TorchModel::embed(const at::Tensor& ids) const {
    at::Tensor rows = at::embedding(embed_, ids.to(device_));
    return config_.embed_scale == 1 ? rows : rows.mul_(config_.embed_scale);
}

at::Tensor TorchModel::norm(const at::Tensor& x, const at::Tensor& weight) const {
    if (!weight.defined()) return x;
    const at::Tensor scale = x.square().mean(-1, true).add_(config_.norm_eps).rsqrt_();
    return (x * scale).mul_(weight);
}

at::Tensor TorchModel::final_norm(const at::Tensor& resid) const { return norm(resid, final_norm_); }

at::Tensor TorchModel::head(const at::Tensor& normed) const { return at::linear(normed, head_); }

at::Tensor TorchModel::heads_of(const Linear& linear, const at::Tensor& x) const {
    return linear(x).unflatten(-1, {-1, config_.head_dim});
}

at::Tensor TorchModel::query(const at::Tensor& resid_pre, int64_t layer) const {
    const Block& block = blocks_[layer];
    return norm(heads_of(block.q, norm(resid_pre, block.attn_norm)), block.q_norm);
}

at::Tensor TorchModel::run(const TorchPass& pass) {
    at::Tensor resid = pass.resid;
    if (pass.first_block == 0) resid = hooked(pass, "hook_embed", resid);
    for (int64_t layer = pass.first_block; layer < config_.layers; ++layer) {
        if (pass.checkpointing) {
            resid = block_again(pass, layer, resid);
            continue;
        }
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

// The block alone, on this layer's keys and values of the prefix, so that gradients come back for these.
at::Tensor TorchModel::block_again(const TorchPass& pass, int64_t layer, const at::Tensor& resid) {
    const int64_t past = pass.past;
    const auto block = [this, layer, past](const std::vector<at::Tensor>& inputs) {
        TorchPass alone{inputs[0], layer, past};
        alone.prefix_key = inputs[1];
        alone.prefix_value = inputs[2];
        alone.prefix_block = layer;
        const at::Tensor middle = inputs[0] + attention(alone, layer, inputs[0]);
        return middle + mlp(blocks_[static_cast<size_t>(layer)], middle);
    };
    const auto of_layer = [layer](const at::Tensor& prefix) {
        return prefix.defined() ? prefix.narrow(2, layer, 1) : at::Tensor();
    };
    return checkpointed(block, {resid, of_layer(pass.prefix_key), of_layer(pass.prefix_value)});
}

at::Tensor TorchModel::attention(const TorchPass& pass, int64_t layer, const at::Tensor& resid) {
    const Block& block = blocks_[layer];
    const std::string name = "blocks." + std::to_string(layer) + ".attn.";
    const at::Tensor x = norm(resid, block.attn_norm);
    at::Tensor q = hooked(pass, name + "hook_q", norm(heads_of(block.q, x), block.q_norm));
    fill(pass.query, layer, q);
    at::Tensor k = norm(heads_of(block.k, x), block.k_norm), v = heads_of(block.v, x);
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
        const at::Tensor rotated = rotary_.of(layer).rotate(t.transpose(1, 2), pass.past);
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
        const int64_t row = layer - pass.prefix_block;
        k = at::cat({rotary_.of(layer).rotate(pass.prefix_key.select(2, row).transpose(1, 2), 0), k}, 2);
        v = at::cat({pass.prefix_value.select(2, row).transpose(1, 2), v}, 2);
    }
    const at::Tensor z = hooked(pass, name + "hook_z", mix(pass, layer, q, k, v));
    return norm(block.o(z.flatten(2)), block.attn_post_norm);
}

// The heads' outputs, [batch, tokens, heads, head_dim]; query heads of a KV head are handled as more rows.
at::Tensor TorchModel::mix(const TorchPass& pass, int64_t layer, const at::Tensor& q, const at::Tensor& k,
                           const at::Tensor& v) const {
    const int64_t batch = q.size(0), tokens = q.size(2), d = config_.head_dim, group = config_.heads_per_kv();
    const std::string shown_as = "blocks." + std::to_string(layer) + ".attn.hook_pattern";
    const bool shown = pass.hooks && pass.hooks->wants(shown_as);
    const int64_t tile = shown ? tokens : kQueryTile, window = config_.is_local(layer) ? config_.sliding_window : 0;
    std::vector<at::Tensor> parts;
    for (int64_t from = 0; from < tokens; from += tile) {
        const int64_t count = std::min(tile, tokens - from), own = k.size(2) - tokens + from;  // the first query's key
        const int64_t first = shown ? 0 : config_.first_key(layer, own), keys = own + count - first;
        const at::Tensor rows = q.narrow(2, from, count).reshape({batch * config_.kv_heads, group * count, d});
        const at::Tensor k_seen = k.narrow(2, first, keys).reshape({-1, keys, d}),
                         v_seen = v.narrow(2, first, keys).reshape({-1, keys, d});
        at::Tensor pattern = pattern_of(rows, k_seen, {group, own - first, window, config_.attention_scale()});
        if (shown)
            pattern =
                pass.hooks->run(shown_as, pattern.view({batch, config_.heads, count, keys})).reshape(pattern.sizes());
        parts.push_back(at::bmm(pattern, v_seen).view({batch, config_.heads, count, d}));
    }
    const at::Tensor z = parts.size() == 1 ? parts.front() : at::cat(parts, 2);
    return z.transpose(1, 2).contiguous();
}

at::Tensor TorchModel::activated(const at::Tensor& gate) const {
    return config_.activation == ActivationKind::silu ? at::silu(gate) : at::gelu(gate, "tanh");
}

at::Tensor TorchModel::mlp(const Block& block, const at::Tensor& resid) const {
    const at::Tensor x = norm(resid, block.mlp_norm);
    return norm(block.down(activated(block.gate(x)).mul_(block.up(x))), block.mlp_post_norm);
}

}  // namespace savepoint
