#include <ATen/ATen.h>

#include "core/model/error.h"
#include "core/sidecar/pca_codec.h"
#include "core/sidecar/pca_parts.h"
#include "core/sidecar/tensor_fields.h"

namespace savepoint {

namespace {

int64_t most_components(const std::vector<PcaGroup>& groups) {
    int64_t most = 0;
    for (const PcaGroup& group : groups) most = std::max(most, group.basis.size(0));
    return most;
}

// [groups, most components]; 0 beyond a group's own.
at::Tensor padded(const std::vector<PcaGroup>& groups, const std::function<at::Tensor(const PcaGroup&)>& row) {
    at::Tensor out = at::zeros({static_cast<int64_t>(groups.size()), most_components(groups)}, at::kFloat);
    for (size_t g = 0; g < groups.size(); ++g) {
        out[static_cast<int64_t>(g)].slice(0, 0, groups[g].basis.size(0)).copy_(row(groups[g]));
    }
    return out;
}

// Where each stored component sits in a row of z flattened to [groups * most components].
at::Tensor stored_columns(const std::vector<PcaGroup>& groups) {
    std::vector<at::Tensor> parts;
    const int64_t most = most_components(groups);
    for (size_t g = 0; g < groups.size(); ++g) {
        const int64_t first = static_cast<int64_t>(g) * most;
        parts.push_back(at::arange(first, first + groups[g].basis.size(0), at::kLong));
    }
    return at::cat(parts);
}

class PcaHidden final : public HiddenCodec {
   public:
    PcaHidden(std::vector<PcaGroup> groups, int64_t group_size, Quantizer quantizer)
        : groups_(std::move(groups)),
          group_size_(group_size),
          most_(most_components(groups_)),
          columns_(stored_columns(groups_)),
          quantizer_(std::move(quantizer)) {
        for (const PcaGroup& group : groups_) blocks_.push_back(group.blocks);
        std_ = padded(groups_, [](const PcaGroup& group) { return group.variance.sqrt(); });
        explained_ = padded(groups_, [](const PcaGroup& group) { return group.variance / group.total; });
    }

    std::string kind() const override { return "pca"; }
    const std::vector<LayerGroup>& groups() const override { return blocks_; }
    int64_t components(int64_t group) const override { return groups_.at(group).basis.size(0); }
    at::Tensor component_std() const override { return std_; }
    // Zero by construction: the axes start at the mean.
    at::Tensor component_mean() const override { return at::zeros_like(std_); }
    at::Tensor explained() const override { return explained_; }
    double bytes_per_token() const override { return static_cast<double>(quantizer_.row_bytes()); }

    at::Tensor encode(const at::Tensor& hidden) const override {
        check_hidden(hidden);
        require_finite(hidden, "hidden");
        const int64_t tokens = hidden.size(0);
        at::Tensor z = at::zeros({tokens, static_cast<int64_t>(groups_.size()), most_}, at::kFloat);
        for (size_t g = 0; g < groups_.size(); ++g) {
            const PcaGroup& group = groups_[g];
            const at::Tensor rows = hidden.slice(1, group.blocks.first_block, group.blocks.last_block + 1);
            const at::Tensor scaled = ((rows - group.mean) / group.scale.unsqueeze(1)).reshape({tokens, -1});
            z.select(1, static_cast<int64_t>(g))
                .slice(1, 0, group.basis.size(0))
                .copy_(at::matmul(scaled, group.basis.t()));
        }
        return spread(quantizer_.round(gathered(z)));
    }

    at::Tensor decode(const at::Tensor& z) const override {
        std::vector<at::Tensor> parts;
        for (size_t g = 0; g < groups_.size(); ++g) parts.push_back(decode_group(z, static_cast<int64_t>(g)));
        return at::cat(parts, 1);
    }

    at::Tensor decode_group(const at::Tensor& z, int64_t index) const override {
        check_latent(z);
        if (index < 0 || index >= static_cast<int64_t>(groups_.size())) {
            throw InputError("group: " + std::to_string(index) + " of " + std::to_string(groups_.size()));
        }
        const PcaGroup& group = groups_[static_cast<size_t>(index)];
        const at::Tensor own = z.select(1, index).slice(1, 0, group.basis.size(0));
        require_finite(own, "latent");
        const at::Tensor rows = at::matmul(own, group.basis).view({z.size(0), group.blocks.layers(), -1});
        return rows * group.scale.unsqueeze(1) + group.mean;
    }

    std::string pack(const at::Tensor& z) const override {
        check_latent(z);
        return quantizer_.pack(gathered(z));
    }

    at::Tensor unpack(const std::string& bytes, int64_t tokens) const override {
        return spread(quantizer_.unpack(bytes, tokens));
    }

    void save(TensorFile& file, nlohmann::json& settings) const override {
        settings = {{"kind", kind()},
                    {"group_size", group_size_},
                    {"layers", blocks_.back().last_block + 1},
                    {"d_model", groups_[0].mean.size(1)},
                    {"bits", quantizer_.bits()}};
        for (size_t g = 0; g < groups_.size(); ++g) {
            const std::string prefix = "hidden." + std::to_string(g) + ".";
            file.tensors[prefix + "basis"] = groups_[g].basis;
            file.tensors[prefix + "mean"] = groups_[g].mean;
            file.tensors[prefix + "scale"] = groups_[g].scale;
            file.tensors[prefix + "variance"] = groups_[g].variance;
            file.tensors[prefix + "total"] = at::full({1}, groups_[g].total, at::kFloat);
        }
        file.tensors["hidden.low"] = quantizer_.low();
        file.tensors["hidden.high"] = quantizer_.high();
    }

   private:
    void check_hidden(const at::Tensor& hidden) const {
        const int64_t layers = blocks_.back().last_block + 1, d = groups_[0].mean.size(1);
        if (!hidden.defined() || hidden.dim() != 3 || hidden.size(1) != layers || hidden.size(2) != d) {
            throw InputError("hidden: this sidecar codes [tokens, " + std::to_string(layers) + ", " +
                             std::to_string(d) + "]; fit one for this model");
        }
    }

    void check_latent(const at::Tensor& z) const {
        if (!z.defined() || z.dim() != 3 || z.size(1) != static_cast<int64_t>(groups_.size()) || z.size(2) != most_) {
            throw InputError("latent: hidden part is not [tokens, " + std::to_string(groups_.size()) + ", " +
                             std::to_string(most_) + "]");
        }
    }

    at::Tensor gathered(const at::Tensor& z) const { return z.reshape({z.size(0), -1}).index_select(1, columns_); }

    at::Tensor spread(const at::Tensor& stored) const {
        const auto groups = static_cast<int64_t>(groups_.size());
        at::Tensor flat = at::zeros({stored.size(0), groups * most_}, at::kFloat);
        flat.index_copy_(1, columns_, stored);
        return flat.view({stored.size(0), groups, most_});
    }

    std::vector<PcaGroup> groups_;
    std::vector<LayerGroup> blocks_;
    int64_t group_size_, most_;
    at::Tensor columns_, std_, explained_;
    Quantizer quantizer_;
};

PcaGroup load_group(const TensorFields& fields, const LayerGroup& blocks, int64_t index, int64_t d) {
    const std::string prefix = "hidden." + std::to_string(index) + ".";
    const int64_t layers = blocks.layers();
    PcaGroup group{blocks,
                   fields.tensor(prefix + "basis", {-1, layers * d}),
                   fields.tensor(prefix + "mean", {layers, d}),
                   fields.tensor(prefix + "scale", {layers}),
                   {},
                   0};
    const int64_t components = group.basis.size(0);
    if (components > layers * d) fields.refuse(prefix + "basis", "has more components than dimensions");
    group.variance = fields.tensor(prefix + "variance", {components});
    group.total = fields.tensor(prefix + "total", {1}).item<double>();
    if (!(group.scale > 0).all().item<bool>()) fields.refuse(prefix + "scale", "is not positive");
    if (!(group.variance >= 0).all().item<bool>()) fields.refuse(prefix + "variance", "is negative");
    if (!(group.total > 0)) fields.refuse(prefix + "total", "is not positive");
    return group;
}

}  // namespace

std::shared_ptr<const HiddenCodec> make_pca_hidden(std::vector<PcaGroup> groups, int64_t group_size, int bits) {
    std::vector<at::Tensor> high;
    for (PcaGroup& group : groups) {
        // As a file stores it: a loaded codec and the one that was saved say the same.
        group.total = static_cast<float>(std::max(group.total, 1e-30));
        high.push_back(group.variance.sqrt() * kHiddenHalfWidth[bits]);
    }
    const at::Tensor bound = at::cat(high);
    return std::make_shared<PcaHidden>(std::move(groups), group_size, Quantizer(bits, -bound, bound));
}

std::shared_ptr<const HiddenCodec> load_pca_hidden(const TensorFile& file, const nlohmann::json& settings,
                                                   const std::string& name) {
    const TensorFields fields(file, settings, "hidden", name);
    const int64_t layers = fields.integer("layers", 1, 4096);
    const int64_t group_size = fields.integer("group_size", 1, 4096);
    const int64_t d = fields.integer("d_model", 1, 1 << 20);
    const auto bits = static_cast<int>(fields.integer("bits", 0, 8));
    std::vector<PcaGroup> groups;
    int64_t columns = 0;
    for (const LayerGroup& blocks : layer_groups(layers, group_size)) {
        groups.push_back(load_group(fields, blocks, static_cast<int64_t>(groups.size()), d));
        columns += groups.back().basis.size(0);
    }
    const at::Tensor low = fields.tensor("hidden.low", {columns}), high = fields.tensor("hidden.high", {columns});
    try {
        return std::make_shared<PcaHidden>(std::move(groups), group_size, Quantizer(bits, low, high));
    } catch (const InputError& error) {
        fields.refuse("hidden grid", error.what());
    }
}

}  // namespace savepoint
