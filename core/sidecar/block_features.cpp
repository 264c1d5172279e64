#include "core/sidecar/block_features.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>

namespace savepoint {

namespace {

at::Tensor root_mean_square(const at::Tensor& x, double eps) {
    return x.square().mean(-1, /*keepdim=*/true).add(eps).sqrt();
}

std::string block_name(int64_t block) { return "blocks." + std::to_string(block) + "."; }

}  // namespace

BlockFeatures::BlockFeatures(std::shared_ptr<const Weights> weights, CodedPart part)
    : weights_(std::move(weights)), part_(part) {
    const ModelConfig& c = config();
    width_ = part == CodedPart::kv ? 2 * c.kv_dim() : part == CodedPart::hidden ? c.d_model : c.d_model + 1;
    if (part != CodedPart::full) return;
    for (int64_t block = 0; block < c.layers; ++block) {
        const std::string name = block_name(block);
        kv_maps_.push_back(at::cat({weights_->tensor(name + "k"), weights_->tensor(name + "v")}) *
                           weights_->tensor(name + "attn_norm"));
    }
}

at::Tensor BlockFeatures::of(const StateRows& rows, int64_t block) const {
    if (part_ == CodedPart::kv)
        return at::cat({rows.key.select(1, block).flatten(1), rows.value.select(1, block).flatten(1)}, 1);
    const at::Tensor h = rows.hidden.select(1, block);
    if (part_ == CodedPart::hidden) return h.contiguous();
    const at::Tensor r = root_mean_square(h, config().norm_eps);
    return at::cat({h / r, r.log() * std::sqrt(static_cast<double>(config().d_model))}, 1);
}

at::Tensor BlockFeatures::hidden(const at::Tensor& features) const {
    if (part_ == CodedPart::hidden) return features;
    const int64_t d = config().d_model;
    // Bounded, so that a damaged or wildly edited code gives large states and not infinite ones.
    const at::Tensor log_r = features.slice(-1, d).div(std::sqrt(static_cast<double>(d))).clamp(-20, 20);
    return features.slice(-1, 0, d) * log_r.exp();
}

void BlockFeatures::add_kv(const std::vector<at::Tensor>& features, std::span<const TokenId> tokens,
                           StateRows& rows) const {
    const ModelConfig& c = config();
    const auto count = static_cast<int64_t>(tokens.size());
    std::vector<at::Tensor> keys, values;
    for (int64_t block = 0; block < c.layers; ++block) {
        KeyValue kv;
        if (part_ == CodedPart::kv) {
            const at::Tensor split = features[static_cast<size_t>(block)].view({count, 2, c.kv_heads, c.head_dim});
            kv = {split.select(1, 0), split.select(1, 1)};
        } else {
            kv = key_value(block, block == 0 ? embeddings(tokens)
                                             : features[static_cast<size_t>(block - 1)].slice(1, 0, c.d_model));
        }
        keys.push_back(kv.key);
        values.push_back(kv.value);
    }
    rows.key = at::stack(keys, 1);
    rows.value = at::stack(values, 1);
}

KeyValue BlockFeatures::key_value(int64_t block, const at::Tensor& direction) const {
    const ModelConfig& c = config();
    const at::Tensor kv = at::matmul(direction, kv_maps_.at(static_cast<size_t>(block)).t())
                              .view({direction.size(0), 2, c.kv_heads, c.head_dim});
    return {normed_keys(block, kv.select(1, 0)), kv.select(1, 1)};
}

at::Tensor BlockFeatures::normed_keys(int64_t block, const at::Tensor& key) const {
    if (!config().qk_norm) return key;
    return key / root_mean_square(key, config().norm_eps) * weights_->tensor(block_name(block) + "k_norm");
}

at::Tensor BlockFeatures::linear_kv_map(int64_t block) const {
    const ModelConfig& c = config();
    const at::Tensor& map = kv_maps_[static_cast<size_t>(block)];
    if (!c.qk_norm) return map;
    const at::Tensor key = map.slice(0, 0, c.kv_dim()).view({c.kv_heads, c.head_dim, c.d_model});
    const at::Tensor mean_square = key.square().sum({1, 2}, /*keepdim=*/true) / static_cast<double>(c.head_dim);
    const at::Tensor normed = key / mean_square.sqrt() * weights_->tensor(block_name(block) + "k_norm").unsqueeze(1);
    return at::cat({normed.reshape({c.kv_dim(), c.d_model}), map.slice(0, c.kv_dim())});
}

StateRows BlockFeatures::rows(const std::vector<at::Tensor>& features, std::span<const TokenId> tokens) const {
    StateRows rows;
    if (part_ != CodedPart::kv) {
        std::vector<at::Tensor> hidden;
        for (const at::Tensor& block : features) hidden.push_back(this->hidden(block));
        rows.hidden = at::stack(hidden, 1);
        rows.last = hidden.back().contiguous();
    }
    if (part_ != CodedPart::hidden) add_kv(features, tokens, rows);
    return rows;
}

at::Tensor BlockFeatures::embeddings(std::span<const TokenId> tokens) const {
    at::Tensor ids = at::empty({static_cast<int64_t>(tokens.size())}, at::kLong);
    std::copy(tokens.begin(), tokens.end(), ids.data_ptr<int64_t>());
    const at::Tensor x = weights_->tensor("embed").index_select(0, ids) * config().embed_scale;
    return x / root_mean_square(x, config().norm_eps);
}

BlockFeatures::Distinct BlockFeatures::distinct_embeddings(std::span<const TokenId> tokens) const {
    std::vector<TokenId> distinct(tokens.begin(), tokens.end());
    std::sort(distinct.begin(), distinct.end());
    distinct.erase(std::unique(distinct.begin(), distinct.end()), distinct.end());
    at::Tensor which = at::empty({static_cast<int64_t>(tokens.size())}, at::kLong);
    for (size_t t = 0; t < tokens.size(); ++t)
        which.data_ptr<int64_t>()[t] = std::lower_bound(distinct.begin(), distinct.end(), tokens[t]) - distinct.begin();
    return {embeddings(distinct), which};
}

at::Tensor BlockFeatures::kv_metric(int64_t block, const at::Tensor& variance, const Sensitivity* sensitivity) const {
    const ModelConfig& c = config();
    if (sensitivity) {
        const at::Tensor fisher = sensitivity->fisher[block] * sensitivity->weight;
        // A floor, so that no direction is free: what few samples call harmless may not be.
        const double floor = 0.02 * fisher.diagonal().mean().item<double>();
        return fisher + at::eye(fisher.size(0)) * floor;
    }
    const at::Tensor total = variance.view({2, -1}).sum(1, true).clamp_min(1e-12).expand({2, c.kv_dim()}).reshape(-1);
    return at::diag(1 / (2.0 * static_cast<double>(c.layers) * total));
}

std::vector<at::Tensor> BlockFeatures::metric(const at::Tensor& variance, const at::Tensor& mean_square,
                                              const Sensitivity* sensitivity, double kl_weight) const {
    const ModelConfig& c = config();
    std::vector<at::Tensor> all;
    for (int64_t block = 0; block < c.layers; ++block) {
        if (part_ == CodedPart::kv) {
            all.push_back(kv_metric(block, variance[block], sensitivity));
            continue;
        }
        const double spread = variance[block].sum().item<double>(), square = mean_square[block].item<double>();
        const double weight = (part_ == CodedPart::full ? square : 1.0) / (spread * static_cast<double>(c.layers));
        at::Tensor m = at::eye(width_) * weight;
        if (part_ == CodedPart::full && sensitivity && block + 1 < c.layers) {
            const at::Tensor map = linear_kv_map(block + 1);
            const at::Tensor cost = kv_metric(block + 1, {}, sensitivity);
            m.slice(0, 0, c.d_model).slice(1, 0, c.d_model).add_(at::matmul(map.t(), at::matmul(cost, map)), kl_weight);
        }
        all.push_back(m);
    }
    return all;
}

}  // namespace savepoint
