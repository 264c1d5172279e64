#include "core/sidecar/codec_lowrank.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>

#include "core/model/error.h"
#include "core/sidecar/eigen_basis.h"
#include "core/sidecar/tensor_fields.h"

namespace savepoint {

namespace {

// One layer's keys, or values: lift = (U_r S_r)^T [rank, kv_dim], whose rows are orthogonal.
struct LowRank {
    at::Tensor lift, project;  // project: S_r^-1 U_r^T

    explicit LowRank(at::Tensor rows) : lift(rows), project(rows / rows.square().sum(1, /*keepdim=*/true)) {}
    int64_t rank() const { return lift.size(0); }
};

using Layers = std::vector<LowRank>;

class LowRankRun final : public RunCodec {
   public:
    LowRankRun(const StateShape& shape, const LowRankSettings& settings, Layers key, Layers value)
        : shape_(shape), settings_(settings), layers_{std::move(key), std::move(value)} {}

    std::string kind() const override { return "lowrank"; }
    std::string name() const override {
        return "lowrank " + std::to_string(settings_.max_rank) + "-" + std::to_string(settings_.min_rank) + " " +
               to_string(settings_.format);
    }
    CodedPart part() const override { return CodedPart::kv; }

    std::string encode(const CodedRun& run) const override {
        const std::vector<at::Tensor> planes = checked_planes(run, shape_, part());
        std::string bytes;
        for (size_t p = 0; p < planes.size(); ++p)
            for (size_t l = 0; l < layers_[p].size(); ++l) {
                const at::Tensor rows = planes[p].select(1, static_cast<int64_t>(l));
                store(bytes, at::matmul(rows, layers_[p][l].project.t()), settings_.format);
            }
        return bytes;
    }

    StateRows decode(const std::string& bytes, std::span<const TokenId> tokens, int64_t) const override {
        const auto count = static_cast<int64_t>(tokens.size());
        require_size(bytes, bytes_of(count), name());
        ByteReader reader(bytes, name());
        std::vector<at::Tensor> planes;
        for (const Layers& layers : layers_) {
            std::vector<at::Tensor> rows;
            for (const LowRank& layer : layers)
                rows.push_back(at::matmul(restore(reader, count, layer.rank(), settings_.format), layer.lift));
            planes.push_back(at::stack(rows, 1));
        }
        return rows_from(planes, shape_, part());
    }

    void save(TensorFile& file, nlohmann::json& settings) const override {
        settings = {{"kind", kind()}, {"max_rank", settings_.max_rank}, {"min_rank", settings_.min_rank}};
        save_shape(shape_, settings);
        save_format(settings_.format, settings);
        for (size_t p = 0; p < layers_.size(); ++p)
            for (size_t l = 0; l < layers_[p].size(); ++l)
                file.tensors[to_string(planes_of(part())[p]) + "." + std::to_string(l)] = layers_[p][l].lift;
    }

   private:
    int64_t bytes_of(int64_t tokens) const {
        int64_t bytes = 0;
        for (const Layers& layers : layers_)
            for (const LowRank& layer : layers) bytes += stored_bytes(tokens, layer.rank(), settings_.format);
        return bytes;
    }

    StateShape shape_;
    LowRankSettings settings_;
    std::array<Layers, 2> layers_;  // keys, values
};

void check(const StateShape& shape, const LowRankSettings& settings) {
    check_format(settings.format);
    if (settings.min_rank < 1 || settings.max_rank < settings.min_rank || settings.max_rank > shape.kv_dim())
        throw InputError("max_rank, min_rank: " + std::to_string(settings.max_rank) + ", " +
                         std::to_string(settings.min_rank) + "; 1 to " + std::to_string(shape.kv_dim()) +
                         ", and not crossed");
}

// The left singular vectors and values of each layer's weights, through W W^T.
EigenBases left_singular(const std::vector<at::Tensor>& weights) {
    std::vector<at::Tensor> squares;
    for (const at::Tensor& w : weights) {
        const at::Tensor wide = w.to(at::kDouble);
        squares.push_back(at::matmul(wide, wide.t()));
    }
    return leading_components_of_each(at::stack(squares), weights[0].size(0));
}

double log_condition(const EigenBases& bases, int64_t layer) {
    const at::Tensor values = bases.values[layer];
    const double largest = values.max().item<double>();
    if (!(largest > 0)) return 0;
    // Squares of singular values: half the logarithm. Below this share of the largest they are rounding errors.
    return 0.5 * std::log(largest / std::max(values.min().item<double>(), largest * 1e-14));
}

Layers truncated(const EigenBases& bases, const std::vector<int64_t>& ranks) {
    Layers layers;
    for (size_t l = 0; l < ranks.size(); ++l) {
        const auto layer = static_cast<int64_t>(l);
        const at::Tensor singular = bases.values[layer].slice(0, 0, ranks[l]).sqrt().clamp_min(1e-12);
        const at::Tensor vectors = bases.vectors[layer].slice(0, 0, ranks[l]).to(at::kDouble);
        layers.emplace_back((vectors * singular.unsqueeze(1)).to(at::kFloat).contiguous());
    }
    return layers;
}

void check_weights(const StateShape& shape, const std::vector<at::Tensor>& weights) {
    if (static_cast<int64_t>(weights.size()) != shape.layers)
        throw InputError("weights: " + std::to_string(weights.size()) + " layers, not " + std::to_string(shape.layers));
    for (const at::Tensor& w : weights)
        if (w.sizes() != at::IntArrayRef({shape.kv_dim(), shape.d_model}))
            throw InputError("weights: not [kv_dim, d_model]");
}

Layers load_layers(const TensorFields& fields, const std::string& plane, const StateShape& shape) {
    Layers layers;
    for (int64_t l = 0; l < shape.layers; ++l) {
        const std::string field = plane + "." + std::to_string(l);
        const at::Tensor lift = fields.tensor(field, {-1, shape.kv_dim()});
        if (at::eq(lift.square().sum(1), 0).any().item<bool>()) fields.refuse(field, "has a row of zeros");
        layers.emplace_back(lift);
    }
    return layers;
}

// A file's ranks follow from its settings alone in their range, and keys and values of a layer share one.
void check_ranks(const TensorFields& fields, const LowRankSettings& settings, const Layers& key, const Layers& value) {
    for (size_t l = 0; l < key.size(); ++l) {
        const std::string layer = "." + std::to_string(l);
        if (key[l].rank() < settings.min_rank || key[l].rank() > settings.max_rank)
            fields.refuse("key" + layer, "has a rank outside min_rank and max_rank");
        if (value[l].rank() != key[l].rank()) fields.refuse("value" + layer, "has another rank than the keys");
    }
}

}  // namespace

std::vector<int64_t> lowrank_ranks(const std::vector<double>& log_conditions, int64_t max_rank, int64_t min_rank) {
    std::vector<double> cumulative(log_conditions.size());
    double sum = 0;
    for (size_t l = log_conditions.size(); l-- > 0;) cumulative[l] = sum += log_conditions[l];
    const auto [low, high] = std::minmax_element(cumulative.begin(), cumulative.end());
    const double span = *high - *low;
    std::vector<int64_t> ranks;
    for (const double c : cumulative) {
        const double share = span > 0 ? (*high - c) / span : 0;
        const auto most = static_cast<double>(max_rank), least = static_cast<double>(min_rank);
        ranks.push_back(std::llround(most * (1 - share * (1 - least / most))));
    }
    return ranks;
}

std::vector<std::shared_ptr<const RunCodec>> make_lowrank(const ModelConfig& config,
                                                          const std::vector<at::Tensor>& key_weights,
                                                          const std::vector<at::Tensor>& value_weights,
                                                          const std::vector<LowRankSettings>& settings) {
    const StateShape shape = shape_of(config);
    for (const LowRankSettings& each : settings) check(shape, each);
    check_weights(shape, key_weights);
    check_weights(shape, value_weights);
    const EigenBases key = left_singular(key_weights), value = left_singular(value_weights);
    std::vector<double> conditions;
    for (int64_t l = 0; l < shape.layers; ++l) conditions.push_back(log_condition(key, l) + log_condition(value, l));
    std::vector<std::shared_ptr<const RunCodec>> codecs;
    for (const LowRankSettings& each : settings) {
        const std::vector<int64_t> ranks = lowrank_ranks(conditions, each.max_rank, each.min_rank);
        codecs.push_back(std::make_shared<LowRankRun>(shape, each, truncated(key, ranks), truncated(value, ranks)));
    }
    return codecs;
}

std::vector<std::shared_ptr<const RunCodec>> make_lowrank(const Weights& weights,
                                                          const std::vector<LowRankSettings>& settings) {
    std::vector<at::Tensor> key, value;
    for (int64_t l = 0; l < weights.config().layers; ++l) {
        const std::string block = "blocks." + std::to_string(l);
        const at::Tensor& made = weights.tensor(block + ".k");
        const ModelConfig& c = weights.config();
        key.push_back(c.qk_norm ? made * weights.tensor(block + ".k_norm").repeat({c.kv_heads}).unsqueeze(1) : made);
        value.push_back(weights.tensor(block + ".v"));
    }
    return make_lowrank(weights.config(), key, value, settings);
}

std::shared_ptr<const RunCodec> load_lowrank(const TensorFile& file, const nlohmann::json& settings,
                                             const std::string& name) {
    const Fields fields(settings, name, "");
    require_kind(fields, "lowrank");
    const StateShape shape = load_shape(fields);
    const LowRankSettings read{fields.integer("max_rank", 1, shape.kv_dim()),
                               fields.integer("min_rank", 1, shape.kv_dim()), load_format(fields)};
    const TensorFields tensors(file, settings, "", name);
    Layers key = load_layers(tensors, "key", shape), value = load_layers(tensors, "value", shape);
    check_ranks(tensors, read, key, value);
    return std::make_shared<LowRankRun>(shape, read, std::move(key), std::move(value));
}

}  // namespace savepoint
