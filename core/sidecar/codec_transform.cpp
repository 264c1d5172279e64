#include "core/sidecar/codec_transform.h"

#include <ATen/ATen.h>

#include "core/model/device.h"
#include "core/model/error.h"
#include "core/model/parallel.h"
#include "core/sidecar/quantizer.h"
#include "core/sidecar/row_products.h"

namespace savepoint {

at::Tensor round_to_steps(const at::Tensor& steps, double dead_zone) {
    return steps.sign() * (steps.abs() + (0.5 - dead_zone)).floor();
}

TransformSettings::Rounding rounding_of(CodedPart part) {
    return part == CodedPart::kv ? TransformSettings::Rounding{0, 0.25} : TransformSettings::Rounding{0.08, 1};
}

at::Tensor transform_context(bool from_token, bool from_below, const at::Tensor& embeddings, const at::Tensor& below) {
    std::vector<at::Tensor> parts;
    if (from_token) parts.push_back(embeddings);
    if (from_below && below.defined()) parts.push_back(below);
    return parts.empty() ? at::Tensor() : at::cat(parts, 1);
}

// --- the codec --------------------------------------------------------------------------------------------

TransformCodec::TransformCodec(std::shared_ptr<const BlockFeatures> features, TransformSettings settings,
                               std::vector<Group> groups, double step, std::string name,
                               std::shared_ptr<const TokenImportance> importance)
    : features_(std::move(features)),
      settings_(std::move(settings)),
      groups_(std::move(groups)),
      step_(step),
      name_(std::move(name)),
      importance_(std::move(importance)) {
    prepare();
}

// What is multiplied by, as it is wanted: not in the file.
void TransformCodec::prepare() {
    if (!settings_.rounding) settings_.rounding = rounding_of(part());
    const bool shorter = settings_.bfloat16 && multiplies_bfloat16();
    for (Group& group : groups_) {
        if (settings_.from_below)
            group.decode_last = group.decode.slice(1, group.width() - features_->width()).contiguous();
        if (!shorter) continue;
        if (settings_.from_below) group.short_decode_last = group.decode_last.to(at::kBFloat16);
        group.short_encode = group.encode.t().to(at::kBFloat16).contiguous();
        group.short_decode = group.decode.to(at::kBFloat16);
        if (group.predict.defined()) group.short_predict = group.predict.t().to(at::kBFloat16).contiguous();
    }
}

std::shared_ptr<const TransformCodec> TransformCodec::on(const c10::Device& device) const {
    std::vector<Group> moved = groups_;
    for (Group& group : moved)
        for (at::Tensor* part : {&group.encode, &group.decode, &group.mean, &group.predict, &group.context_mean})
            if (part->defined()) *part = part->to(device);
    TransformSettings settings = settings_;
    if (!device.is_cpu()) settings.bfloat16 = false;
    return std::make_shared<TransformCodec>(features_, settings, std::move(moved), step_, name_, importance_);
}

BlockFeatures::Distinct TransformCodec::predicted_from(std::span<const TokenId> tokens) const {
    return settings_.from_token ? features_->distinct_embeddings(tokens) : BlockFeatures::Distinct();
}

// What a token says of itself is worked out once for each that occurs: a text has a few hundred in a thousand.
at::Tensor TransformCodec::prediction(const Group& group, const BlockFeatures::Distinct& tokens,
                                      const at::Tensor& below) const {
    if (!group.predict.defined()) return {};
    const int64_t of_token = settings_.from_token ? features_->config().d_model : 0;
    const auto part = [&](const at::Tensor& context, int64_t from, int64_t to) {
        const at::Tensor shortened =
            group.short_predict.defined() ? group.short_predict.slice(0, from, to) : at::Tensor();
        return product(context - group.context_mean.slice(0, from, to), group.predict.slice(1, from, to).t(),
                       shortened);
    };
    const int64_t all = group.predict.size(1);
    if (of_token == 0) return part(below, 0, all);
    at::Tensor predicted = part(tokens.embeddings, 0, of_token).index_select(0, tokens.which);
    return of_token < all ? predicted.add_(part(below, of_token, all)) : predicted;
}

at::Tensor TransformCodec::group_features(const Group& group, const at::Tensor& steps,
                                          const at::Tensor& prediction) const {
    at::Tensor x = product_of_rounded(steps * step_, group.decode, group.short_decode).add_(group.mean);
    return prediction.defined() ? x.add_(prediction) : x;
}

at::Tensor TransformCodec::last_block_features(const Group& group, const at::Tensor& steps,
                                               const at::Tensor& prediction) const {
    const int64_t first = group.width() - features_->width();
    at::Tensor x =
        product_of_rounded(steps * step_, group.decode_last, group.short_decode_last).add_(group.mean.slice(0, first));
    return prediction.defined() ? x.add_(prediction.slice(1, first)) : x;
}

at::Tensor TransformCodec::coefficients(const Group& group, const at::Tensor& features, const at::Tensor& prediction,
                                        const at::Tensor& ends) const {
    at::Tensor x = features - group.mean;
    if (prediction.defined()) x.sub_(prediction);
    const at::Tensor c = ends.defined() ? product_up_to(ends, x, group.encode.t(), group.short_encode)
                                        : product(x, group.encode.t(), group.short_encode);
    return c / step_;
}

at::Tensor TransformCodec::features_of(const Group& group, const StateRows& rows) const {
    std::vector<at::Tensor> blocks;
    for (int64_t b = group.blocks.first_block; b <= group.blocks.last_block; ++b)
        blocks.push_back(features_->of(rows, b));
    const at::Tensor x = at::cat(blocks, 1);
    require_finite(x, "state");
    return x;
}

at::Tensor TransformCodec::values(size_t group, const at::Tensor& rounded, const at::Tensor& coarser) const {
    const CoefficientCoder& coder = groups_[group].coder;
    const at::Tensor v = coder.columns() ? coder.values(rounded, coarser) : rounded;
    return coarser.defined() ? v * relative_steps(coarser) : v;
}

TransformCodec::Latent TransformCodec::latent(const CodedRun& run, bool all) const {
    const BlockFeatures::Distinct tokens = predicted_from(run.tokens);
    Latent latent;
    if (importance_) latent.coarser = importance_->coarser(run);
    at::Tensor below;
    for (size_t g = 0; g < groups_.size(); ++g) {
        const Group& group = groups_[g];
        const at::Tensor coarser = latent.coarser_of(g);
        const at::Tensor predicted = prediction(group, tokens, below);
        const at::Tensor ends = !all && coarser.defined() ? group.coder.seen(coarser) : at::Tensor();
        at::Tensor steps = coefficients(group, features_of(group, run.rows), predicted, ends);
        if (coarser.defined()) steps = steps / relative_steps(coarser);
        const at::Tensor q = group.coder.coded_part(round_to_steps(steps, rounding().dead_zone), coarser);
        if (settings_.from_below) below = last_block_features(group, values(g, q, coarser), predicted);
        latent.exact.push_back(steps);
        latent.rounded.push_back(q);
    }
    return latent;
}

std::vector<at::Tensor> TransformCodec::reconstruct(const std::vector<at::Tensor>& z,
                                                    std::span<const TokenId> tokens) const {
    const BlockFeatures::Distinct from = predicted_from(tokens);
    std::vector<at::Tensor> blocks;
    at::Tensor below;
    for (size_t g = 0; g < groups_.size(); ++g) {
        const Group& group = groups_[g];
        const at::Tensor x = group_features(group, z[g], prediction(group, from, below));
        for (int64_t i = 0; i < group.blocks.layers(); ++i)
            blocks.push_back(x.slice(1, i * features_->width(), (i + 1) * features_->width()));
        below = blocks.back();
    }
    return blocks;
}

std::string TransformCodec::encode(const CodedRun& run) const {
    const Latent latent = this->latent(run, false);
    std::vector<std::string> coded(groups_.size());
    parallel_tasks(static_cast<int64_t>(groups_.size()), [&](int64_t index) {
        const auto g = static_cast<size_t>(index);
        coded[g] = groups_[g].coder.encode(latent.rounded[g], latent.coarser_of(g));
    });
    if (importance_) coded.push_back(importance_->encode(latent.coarser));
    return joined_parts(coded);
}

StateRows TransformCodec::decode(const std::string& bytes, std::span<const TokenId> tokens, int64_t) const {
    const auto count = static_cast<int64_t>(tokens.size());
    const std::vector<std::string> coded = split_parts(bytes, groups_.size() + (importance_ ? 1 : 0));
    Latent latent;
    if (importance_) latent.coarser = importance_->decode(coded.back(), count);
    std::vector<at::Tensor> z(groups_.size());
    parallel_tasks(static_cast<int64_t>(groups_.size()), [&](int64_t index) {
        const auto g = static_cast<size_t>(index);
        const at::Tensor coarser = latent.coarser_of(g);
        z[g] = values(g, groups_[g].coder.decode(coded[g], count, coarser), coarser);
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
                {"dead_zone", rounding().dead_zone},
                {"pull", rounding().pull},
                {"bfloat16", settings_.bfloat16},
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
    settings["importance"] = importance_ != nullptr;
    if (importance_) importance_->save(file);
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
    made.rounding = {given.number("dead_zone"), given.has("pull") ? given.number("pull") : 1};
    made.bfloat16 = given.has("bfloat16") && given.boolean("bfloat16");
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
    std::shared_ptr<const TokenImportance> importance;
    if (given.boolean("importance"))
        importance = std::make_shared<TokenImportance>(
            TokenImportance::load(fields, layers, static_cast<int64_t>(groups.size())));
    return std::make_shared<TransformCodec>(std::move(features), std::move(made), std::move(groups), step,
                                            given.text("name"), std::move(importance));
}

}  // namespace savepoint
