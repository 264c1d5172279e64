#include "core/sidecar/joint_codec.h"

#include <ATen/ATen.h>

#include <algorithm>

#include "core/model/error.h"
#include "core/sidecar/block_features.h"
#include "core/sidecar/quantizer.h"
#include "core/sidecar/tensor_fields.h"

namespace savepoint {

namespace {

std::string deviation_name(size_t group) { return "joint." + std::to_string(group) + ".deviation"; }
std::string explained_name(size_t group) { return "joint." + std::to_string(group) + ".explained"; }

// Whole steps, as a file keeps them: what values are pulled towards zero by is at most half a step.
at::Tensor nearest_steps(const at::Tensor& z) { return z.sign() * (z.abs() + 0.5).floor(); }

at::Tensor padded(const std::vector<at::Tensor>& rows, int64_t most) {
    at::Tensor out = at::zeros({static_cast<int64_t>(rows.size()), most}, at::kFloat);
    for (size_t g = 0; g < rows.size(); ++g) out[static_cast<int64_t>(g)].slice(0, 0, rows[g].size(0)).copy_(rows[g]);
    return out;
}

}  // namespace

JointCodec::JointCodec(std::shared_ptr<const TransformCodec> transform, const std::vector<at::Tensor>& deviation,
                       const std::vector<at::Tensor>& explained, double bytes_per_token)
    : transform_(std::move(transform)), most_(0), bytes_per_token_(bytes_per_token) {
    const TransformSettings& settings = transform_->settings();
    if (transform_->part() != CodedPart::full || settings.from_token || settings.from_below || transform_->importance())
        throw InputError("joint codec: needs a transform of the full state without predictions and steps by token");
    if (deviation.size() != transform_->groups().size() || explained.size() != deviation.size())
        throw InputError("joint codec: needs a deviation of every group");
    for (size_t g = 0; g < deviation.size(); ++g) {
        const TransformCodec::Group& group = transform_->groups()[g];
        if (deviation[g].size(0) != group.components() || explained[g].size(0) != group.components())
            throw InputError("joint codec: needs a deviation of every component");
        blocks_.push_back(group.blocks);
        most_ = std::max(most_, group.components());
    }
    std::vector<at::Tensor> unit;
    for (const at::Tensor& each : deviation) unit.push_back(each.square().mean().sqrt().expand_as(each));
    std_ = padded(deviation, most_);
    unit_ = padded(unit, most_);
    explained_ = padded(explained, most_);
}

const TransformCodec::Group& JointCodec::group_at(int64_t group) const {
    if (group < 0 || group >= static_cast<int64_t>(blocks_.size()))
        throw InputError("group: " + std::to_string(group) + " of " + std::to_string(blocks_.size()));
    return transform_->groups()[static_cast<size_t>(group)];
}

int64_t JointCodec::components(int64_t group) const { return group_at(group).components(); }

void JointCodec::check_latent(const at::Tensor& z) const {
    if (!z.defined() || z.dim() != 3 || z.size(1) != static_cast<int64_t>(blocks_.size()) || z.size(2) != most_)
        throw InputError("latent: is not [tokens, " + std::to_string(blocks_.size()) + ", " + std::to_string(most_) +
                         "]");
}

at::Tensor JointCodec::encode(const at::Tensor& hidden) const {
    const ModelConfig& c = config();
    if (!hidden.defined() || hidden.dim() != 3 || hidden.size(1) != c.layers || hidden.size(2) != c.d_model)
        throw InputError("hidden: this sidecar codes [tokens, " + std::to_string(c.layers) + ", " +
                         std::to_string(c.d_model) + "]; fit one for this model");
    require_finite(hidden, "hidden");
    StateRows rows;
    rows.hidden = hidden;
    at::Tensor z = at::zeros({hidden.size(0), static_cast<int64_t>(blocks_.size()), most_}, at::kFloat);
    for (size_t g = 0; g < blocks_.size(); ++g) {
        const TransformCodec::Group& group = transform_->groups()[g];
        const at::Tensor steps = transform_->coefficients(group, transform_->features_of(group, rows), {});
        const at::Tensor rounded = round_to_steps(steps, transform_->rounding().dead_zone);
        z.select(1, static_cast<int64_t>(g)).slice(1, 0, group.components()).copy_(transform_->values(g, rounded, {}));
    }
    return z;
}

at::Tensor JointCodec::features(const at::Tensor& z, int64_t index) const {
    const TransformCodec::Group& group = group_at(index);
    check_latent(z);
    const at::Tensor own = z.select(1, index).slice(1, 0, group.components());
    require_finite(own, "latent");
    return transform_->group_features(group, own, {});
}

at::Tensor JointCodec::decode_group(const at::Tensor& z, int64_t group) const {
    const at::Tensor rows = features(z, group);
    return transform_->features().hidden(rows.view({rows.size(0), group_at(group).blocks.layers(), -1}));
}

at::Tensor JointCodec::decode(const at::Tensor& z) const {
    std::vector<at::Tensor> parts;
    for (size_t g = 0; g < blocks_.size(); ++g) parts.push_back(decode_group(z, static_cast<int64_t>(g)));
    return at::cat(parts, 1);
}

StateRows JointCodec::decode_state(const at::Tensor& z, std::span<const TokenId> tokens) const {
    check_latent(z);
    if (z.size(0) != static_cast<int64_t>(tokens.size()))
        throw InputError("latent: of " + std::to_string(z.size(0)) + " tokens, with the ids of " +
                         std::to_string(tokens.size()));
    const int64_t width = transform_->features().width();
    std::vector<at::Tensor> blocks;
    for (size_t g = 0; g < blocks_.size(); ++g) {
        const at::Tensor rows = features(z, static_cast<int64_t>(g));
        for (int64_t i = 0; i < blocks_[g].layers(); ++i) blocks.push_back(rows.slice(1, i * width, (i + 1) * width));
    }
    return transform_->features().rows(blocks, tokens);
}

std::vector<JointCodec::BlockRows> JointCodec::decode_group_kv(const at::Tensor& z, int64_t group) const {
    const at::Tensor rows = features(z, group);
    const int64_t width = transform_->features().width();
    const LayerGroup& blocks = group_at(group).blocks;
    std::vector<BlockRows> out;
    for (int64_t block = blocks.first_block + 1; block <= blocks.last_block; ++block) {
        const int64_t below = block - 1 - blocks.first_block;
        const KeyValue kv =
            transform_->features().key_value(block, rows.slice(1, below * width, below * width + config().d_model));
        out.push_back({block, kv.key, kv.value});
    }
    return out;
}

std::string JointCodec::pack(const at::Tensor& z) const {
    check_latent(z);
    require_finite(z, "latent");
    std::vector<std::string> parts;
    for (size_t g = 0; g < blocks_.size(); ++g) {
        const TransformCodec::Group& group = transform_->groups()[g];
        const at::Tensor own = z.select(1, static_cast<int64_t>(g)).slice(1, 0, group.components());
        parts.push_back(group.coder.encode(nearest_steps(own)));
    }
    return joined_parts(parts);
}

at::Tensor JointCodec::unpack(const std::string& bytes, int64_t tokens) const {
    const std::vector<std::string> parts = split_parts(bytes, blocks_.size());
    at::Tensor z = at::zeros({tokens, static_cast<int64_t>(blocks_.size()), most_}, at::kFloat);
    for (size_t g = 0; g < blocks_.size(); ++g) {
        const CoefficientCoder& coder = transform_->groups()[g].coder;
        z.select(1, static_cast<int64_t>(g))
            .slice(1, 0, coder.columns())
            .copy_(coder.values(coder.decode(parts[g], tokens)));
    }
    return z;
}

void JointCodec::save(TensorFile& file, nlohmann::json& settings) const {
    nlohmann::json transform;
    transform_->save(file, transform);
    settings = {{"kind", kind()}, {"transform", transform}, {"bytes_per_token", bytes_per_token_}};
    for (size_t g = 0; g < blocks_.size(); ++g) {
        const auto row = static_cast<int64_t>(g), count = transform_->groups()[g].components();
        file.tensors[deviation_name(g)] = std_[row].slice(0, 0, count).contiguous();
        file.tensors[explained_name(g)] = explained_[row].slice(0, 0, count).contiguous();
    }
}

std::shared_ptr<const JointCodec> load_joint(const TensorFile& file, const nlohmann::json& settings,
                                             const std::string& name, std::shared_ptr<const Weights> weights) {
    const TensorFields fields(file, settings, "hidden", name);
    const Fields given(settings, name, "hidden");
    auto transform = load_transform(file, given.any("transform"), name, std::move(weights));
    const double bytes = given.number("bytes_per_token");
    if (!(bytes > 0)) given.refuse("bytes_per_token", "is not above 0");
    std::vector<at::Tensor> deviation, explained;
    for (size_t g = 0; g < transform->groups().size(); ++g) {
        const int64_t count = transform->groups()[g].components();
        deviation.push_back(fields.tensor(deviation_name(g), {count}));
        explained.push_back(fields.tensor(explained_name(g), {count}));
        if (!(deviation.back() >= 0).all().item<bool>()) fields.refuse(deviation_name(g), "is negative");
    }
    try {
        return std::make_shared<JointCodec>(std::move(transform), deviation, explained, bytes);
    } catch (const InputError& error) {
        throw FileError(name, error.what());
    }
}

// --- the fit ------------------------------------------------------------------------------------------------

namespace {

constexpr int64_t kSampleTokens = 1024;

void check_settings(const JointSettings& settings) {
    const auto refuse = [](const char* field, const std::string& value, const char* allowed) {
        throw InputError(std::string(field) + ": " + value + "; " + allowed);
    };
    if (settings.group_size < 1) refuse("group_size", std::to_string(settings.group_size), "1 or more");
    if (!(settings.ratio >= 2 && settings.ratio <= 256)) refuse("ratio", std::to_string(settings.ratio), "2 to 256");
    if (!(settings.kl_weight >= 0 && settings.kl_weight <= 1e6))
        refuse("kl_weight", std::to_string(settings.kl_weight), "0 or more");
    if (settings.max_components < 0)
        refuse("max_components", std::to_string(settings.max_components), "0 (full rank) or more");
    if (settings.gradient_sequences < 0)
        refuse("gradient_sequences", std::to_string(settings.gradient_sequences), "0 or more");
    if (settings.exact_first_tokens < 0)
        refuse("exact_first_tokens", std::to_string(settings.exact_first_tokens), "0 or more");
}

TransformSettings transform_settings(const JointSettings& settings) {
    TransformSettings transform;
    transform.part = CodedPart::full;
    transform.group_size = settings.group_size;
    transform.from_token = transform.from_below = false;
    transform.kl_weight = settings.kl_weight;
    if (settings.max_components > 0) transform.max_components = settings.max_components;
    transform.sample_tokens = kSampleTokens;
    transform.label = "joint";
    transform.exact_products = true;
    return transform;
}

}  // namespace

struct JointFit::Impl {
    Impl(const Transformer& model, JointSettings asked, uint64_t seed)
        : settings(asked), transform(model.shared_weights(), transform_settings(asked)), gradients(model, seed) {}

    JointSettings settings;
    TransformFit transform;
    SensitivityFit gradients;
    int64_t tokens = 0;
    bool with_gradients = false, decomposing = false, searching = false, found = false;
};

JointFit::JointFit(const Transformer& model, JointSettings settings, uint64_t seed) {
    check_settings(settings);
    impl_ = std::make_unique<Impl>(model, settings, seed);
}

JointFit::~JointFit() = default;

void JointFit::add(const CodedRun& run) {
    if (!run.rows.has_hidden()) throw InputError("fit: needs hidden states of every token");
    if (impl_->decomposing) throw InputError("fit: tokens cannot be added after the decomposition has begun");
    if (run.rows.tokens() == 0) return;
    impl_->transform.add(run);
    impl_->tokens += run.rows.tokens();
}

int64_t JointFit::tokens() const { return impl_->tokens; }

void JointFit::add_gradients(const std::vector<std::vector<TokenId>>& sequences, int64_t prefix) {
    impl_->gradients.add(sequences, prefix, impl_->settings.exact_first_tokens);
    impl_->with_gradients = true;
}

int64_t JointFit::groups() const { return impl_->transform.groups(); }

void JointFit::decompose(int64_t group) {
    if (impl_->tokens == 0) throw InputError("fit: no tokens were added");
    if (group < 0 || group >= groups()) throw InputError("fit: there is no group " + std::to_string(group));
    if (!impl_->decomposing && impl_->with_gradients) impl_->transform.set_sensitivity(impl_->gradients.finish());
    impl_->decomposing = true;
    impl_->transform.decompose(group);
}

bool JointFit::search_step() {
    if (!impl_->searching) impl_->transform.begin_codec(impl_->settings.ratio);
    impl_->searching = true;
    if (!impl_->found) impl_->found = !impl_->transform.search_step();
    return !impl_->found;
}

std::shared_ptr<const JointCodec> JointFit::finish() {
    while (search_step()) {
    }
    const std::shared_ptr<const TransformCodec> codec = impl_->transform.found_codec();
    std::vector<at::Tensor> deviation, explained;
    for (int64_t g = 0; g < groups(); ++g) {
        const int64_t count = codec->groups()[static_cast<size_t>(g)].components();
        const TransformFit::Spectrum spectrum = impl_->transform.spectrum(g);
        const at::Tensor values = spectrum.values.slice(0, 0, count);
        deviation.push_back((values.sqrt() / codec->step()).to(at::kFloat).contiguous());
        explained.push_back((values / std::max(spectrum.total, 1e-30)).to(at::kFloat).contiguous());
    }
    return std::make_shared<JointCodec>(codec, deviation, explained, impl_->transform.sampled_bytes_per_token());
}

}  // namespace savepoint
