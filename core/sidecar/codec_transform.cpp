#include "core/sidecar/codec_transform.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "core/model/error.h"
#include "core/model/parallel.h"
#include "core/sidecar/quantizer.h"

namespace savepoint {

at::Tensor round_to_steps(const at::Tensor& steps, double dead_zone) {
    return steps.sign() * (steps.abs() + (0.5 - dead_zone)).floor();
}

at::Tensor transform_context(bool from_token, bool from_below, const at::Tensor& embeddings, const at::Tensor& below) {
    std::vector<at::Tensor> parts;
    if (from_token) parts.push_back(embeddings);
    if (from_below && below.defined()) parts.push_back(below);
    return parts.empty() ? at::Tensor() : at::cat(parts, 1);
}

// --- the codec --------------------------------------------------------------------------------------------

TransformCodec::TransformCodec(std::shared_ptr<const BlockFeatures> features, TransformSettings settings,
                               std::vector<Group> groups, double step, std::string name)
    : features_(std::move(features)),
      settings_(std::move(settings)),
      groups_(std::move(groups)),
      step_(step),
      name_(std::move(name)) {}

at::Tensor TransformCodec::context_of(const Group& group, const at::Tensor& embeddings, const at::Tensor& below) const {
    if (!group.predict.defined()) return {};
    return transform_context(settings_.from_token, settings_.from_below, embeddings, below);
}

at::Tensor TransformCodec::group_features(const Group& group, const at::Tensor& steps,
                                          const at::Tensor& context) const {
    const at::Tensor x = at::addmm(group.mean, steps * step_, group.decode);
    return context.defined() ? x.addmm(context - group.context_mean, group.predict.t()) : x;
}

at::Tensor TransformCodec::coefficients(const Group& group, const at::Tensor& features,
                                        const at::Tensor& context) const {
    at::Tensor x = features - group.mean;
    if (context.defined()) x.addmm_(context - group.context_mean, group.predict.t(), 1, -1);
    return at::matmul(x, group.encode.t()) / step_;
}

at::Tensor TransformCodec::features_of(const Group& group, const StateRows& rows) const {
    std::vector<at::Tensor> blocks;
    for (int64_t b = group.blocks.first_block; b <= group.blocks.last_block; ++b)
        blocks.push_back(features_->of(rows, b));
    const at::Tensor x = at::cat(blocks, 1);
    require_finite(x, "state");
    return x;
}

std::vector<at::Tensor> TransformCodec::quantise(const CodedRun& run, std::vector<at::Tensor>* exact) const {
    const at::Tensor embeddings = settings_.from_token ? features_->embeddings(run.tokens) : at::Tensor();
    std::vector<at::Tensor> all;
    at::Tensor below;
    for (const Group& group : groups_) {
        const at::Tensor context = context_of(group, embeddings, below);
        const at::Tensor steps = coefficients(group, features_of(group, run.rows), context);
        if (exact) exact->push_back(steps);
        const at::Tensor q = round_to_steps(steps, settings_.dead_zone);
        if (settings_.from_below) {
            const at::Tensor decoded =
                group_features(group, group.coder.columns() ? group.coder.values(q) : q, context);
            below = decoded.slice(1, decoded.size(1) - features_->width());
        }
        all.push_back(q);
    }
    return all;
}

std::vector<at::Tensor> TransformCodec::reconstruct(const std::vector<at::Tensor>& z,
                                                    std::span<const TokenId> tokens) const {
    const at::Tensor embeddings = settings_.from_token ? features_->embeddings(tokens) : at::Tensor();
    std::vector<at::Tensor> blocks;
    at::Tensor below;
    for (size_t g = 0; g < groups_.size(); ++g) {
        const Group& group = groups_[g];
        const at::Tensor x = group_features(group, z[g], context_of(group, embeddings, below));
        for (int64_t i = 0; i < group.blocks.layers(); ++i)
            blocks.push_back(x.slice(1, i * features_->width(), (i + 1) * features_->width()));
        below = blocks.back();
    }
    return blocks;
}

std::string TransformCodec::encode(const CodedRun& run) const {
    const std::vector<at::Tensor> z = quantise(run);
    std::vector<std::string> coded(groups_.size());
    parallel_tasks(static_cast<int64_t>(groups_.size()), [&](int64_t g) {
        coded[static_cast<size_t>(g)] = groups_[static_cast<size_t>(g)].coder.encode(z[static_cast<size_t>(g)]);
    });
    return joined_parts(coded);
}

StateRows TransformCodec::decode(const std::string& bytes, std::span<const TokenId> tokens, int64_t) const {
    const std::vector<std::string> coded = split_parts(bytes, groups_.size());
    std::vector<at::Tensor> z(groups_.size());
    parallel_tasks(static_cast<int64_t>(groups_.size()), [&](int64_t index) {
        const auto g = static_cast<size_t>(index);
        z[g] = groups_[g].coder.values(groups_[g].coder.decode(coded[g], static_cast<int64_t>(tokens.size())));
    });
    return features_->rows(reconstruct(z, tokens), tokens);
}

void TransformCodec::save(TensorFile& file, nlohmann::json& settings) const {
    settings = {{"kind", kind()},
                {"name", name_},
                {"part", to_string(part())},
                {"group_size", settings_.group_size},
                {"from_token", settings_.from_token},
                {"from_below", settings_.from_below},
                {"kl_weight", settings_.kl_weight},
                {"dead_zone", settings_.dead_zone},
                {"step", step_}};
    for (size_t g = 0; g < groups_.size(); ++g) {
        const Group& group = groups_[g];
        const std::string prefix = "transform." + std::to_string(g);
        file.tensors[prefix + ".encode"] = group.encode.to(at::kHalf);
        file.tensors[prefix + ".decode"] = group.decode.to(at::kHalf);
        file.tensors[prefix + ".mean"] = group.mean;
        if (group.predict.defined()) {
            file.tensors[prefix + ".predict"] = group.predict.to(at::kHalf);
            file.tensors[prefix + ".context_mean"] = group.context_mean;
        }
        group.coder.save(file, prefix + ".coder");
    }
}

namespace {

TransformCodec::Group loaded_group(const TensorFields& fields, const std::string& prefix, const LayerGroup& blocks,
                                   int64_t width, int64_t context) {
    TransformCodec::Group group;
    group.blocks = blocks;
    group.encode = fields.tensor(prefix + ".encode", {-1, width});
    group.decode = fields.tensor(prefix + ".decode", {group.encode.size(0), width});
    group.mean = fields.tensor(prefix + ".mean", {width});
    if (context > 0) {
        group.predict = fields.tensor(prefix + ".predict", {width, context});
        group.context_mean = fields.tensor(prefix + ".context_mean", {context});
    }
    group.coder = CoefficientCoder::load(fields, prefix + ".coder");
    if (group.coder.columns() != group.components()) fields.refuse(prefix, "has a coder for other columns");
    return group;
}

}  // namespace

std::shared_ptr<const TransformCodec> load_transform(const TensorFile& file, const nlohmann::json& settings,
                                                     const std::string& name, std::shared_ptr<const Weights> weights) {
    const Fields given(settings, name, "transform");
    const TensorFields fields(file, settings, "transform", name);
    TransformSettings made;
    try {
        made.part = coded_part_from(given.text("part"));
    } catch (const InputError& error) {
        given.refuse("part", error.what());
    }
    const int64_t layers = weights->config().layers, embedding = weights->config().d_model;
    made.group_size = given.integer("group_size", 1, layers);
    made.from_token = given.boolean("from_token");
    made.from_below = given.boolean("from_below");
    made.kl_weight = given.number("kl_weight");
    made.dead_zone = given.number("dead_zone");
    const double step = given.number("step");
    if (!(step > 0)) given.refuse("step", "is not above 0");
    auto features = std::make_shared<BlockFeatures>(std::move(weights), made.part);
    std::vector<TransformCodec::Group> groups;
    const std::vector<LayerGroup> blocks = layer_groups(layers, made.group_size);
    for (size_t g = 0; g < blocks.size(); ++g) {
        const int64_t context = (made.from_token ? embedding : 0) + (made.from_below && g > 0 ? features->width() : 0);
        groups.push_back(loaded_group(fields, "transform." + std::to_string(g), blocks[g],
                                      blocks[g].layers() * features->width(), context));
    }
    return std::make_shared<TransformCodec>(std::move(features), std::move(made), std::move(groups), step,
                                            given.text("name"));
}

}  // namespace savepoint
