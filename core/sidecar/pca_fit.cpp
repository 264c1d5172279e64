#include <ATen/ATen.h>

#include "core/model/error.h"
#include "core/sidecar/eigen_basis.h"
#include "core/sidecar/pca_codec.h"
#include "core/sidecar/pca_parts.h"

namespace savepoint {

namespace {

constexpr int64_t kBatch = 512;  // tokens of one product: enough to keep the processors busy, 35 MB of states

void check_settings(const PcaSettings& settings) {
    const auto refuse = [](const char* field, int64_t value, const char* allowed) {
        throw InputError(std::string(field) + ": " + std::to_string(value) + "; " + allowed);
    };
    if (settings.hidden_components < 0)
        refuse("hidden_components", settings.hidden_components, "0 (full rank) or more");
    if (settings.key_components < 0) refuse("key_components", settings.key_components, "0 (full rank) or more");
    if (settings.value_components < 0) refuse("value_components", settings.value_components, "0 (full rank) or more");
    if (settings.bits != 0 && (settings.bits < 2 || settings.bits > 8))
        refuse("bits", settings.bits, "2 to 8, or 0 for float32");
    if (settings.exact_first_tokens < 0) refuse("exact_first_tokens", settings.exact_first_tokens, "0 or more");
    if (settings.hidden_stride < 1) refuse("hidden_stride", settings.hidden_stride, "1 or more");
}

// Sums over tokens of x and x x^T, about the mean of the first tokens seen: a spread far smaller than its mean
// survives float32 products that way. Products are float32, one batch at a time; their sum is float64.

// The covariances within every layer group. Only the blocks on and above the diagonal are kept.
class HiddenMoments {
   public:
    HiddenMoments(std::vector<LayerGroup> groups, int64_t d)
        : groups_(std::move(groups)), d_(d), strips_(groups_.size()) {
        for (size_t g = 0; g < groups_.size(); ++g) {
            for (int64_t i = 0; i < groups_[g].layers(); ++i) {
                strips_[g].push_back(at::zeros({d, (groups_[g].layers() - i) * d}, at::kDouble));
            }
        }
    }

    int64_t tokens() const { return tokens_ + buffered_; }

    void add(const at::Tensor& hidden) {  // [tokens, layers, d]
        if (hidden.size(0) == 0) return;
        buffer_.push_back(hidden.clone(at::MemoryFormat::Contiguous));
        buffered_ += hidden.size(0);
        if (buffered_ >= kBatch) flush();
    }

    void flush() {
        if (buffer_.empty()) return;
        at::Tensor x = at::cat(buffer_);
        buffer_.clear();
        if (!shift_.defined()) shift_ = x.mean(0);
        x.sub_(shift_);
        const at::Tensor sum = x.sum(0, /*keepdim=*/false, at::kDouble);
        sum_ = sum_.defined() ? sum_ + sum : sum;
        const at::Tensor flat = x.view({x.size(0), -1});
        for (size_t g = 0; g < groups_.size(); ++g) add_group(flat, g);
        tokens_ += buffered_;
        buffered_ = 0;
    }

    // The axes of one group; its sums are given back.
    PcaGroup decompose(size_t g, int64_t components) {
        const LayerGroup& blocks = groups_[g];
        const int64_t n = blocks.layers();
        const at::Tensor mean =
            (sum_ / static_cast<double>(tokens_)).slice(0, blocks.first_block, blocks.last_block + 1);
        at::Tensor covariance = assembled(g) / static_cast<double>(tokens_);
        covariance.sub_(at::outer(mean.reshape({-1}), mean.reshape({-1})));
        strips_[g].clear();
        const at::Tensor deviation = covariance.diagonal().clamp_min(0).view({n, d_}).mean(1).sqrt();
        const at::Tensor scale = at::where(deviation > 0, deviation, at::ones_like(deviation));
        const at::Tensor each = scale.repeat_interleave(d_);
        covariance.div_(each.unsqueeze(1)).div_(each.unsqueeze(0));
        const EigenBasis basis = leading_components(covariance, components);
        const at::Tensor centre = shift_.slice(0, blocks.first_block, blocks.last_block + 1) + mean;
        return {blocks,
                basis.vectors,
                centre.to(at::kFloat).contiguous(),
                scale.to(at::kFloat),
                basis.values.to(at::kFloat),
                basis.total};
    }

   private:
    void add_group(const at::Tensor& flat, size_t g) {
        const int64_t first = groups_[g].first_block, end = groups_[g].last_block + 1;
        for (int64_t i = 0; i < groups_[g].layers(); ++i) {
            const at::Tensor one = flat.slice(1, (first + i) * d_, (first + i + 1) * d_);
            strips_[g][i].add_(at::matmul(one.t(), flat.slice(1, (first + i) * d_, end * d_)));
        }
    }

    at::Tensor assembled(size_t g) const {
        const int64_t n = groups_[g].layers();
        at::Tensor all = at::empty({n * d_, n * d_}, at::kDouble);
        for (int64_t i = 0; i < n; ++i) {
            all.slice(0, i * d_, (i + 1) * d_).slice(1, i * d_).copy_(strips_[g][i]);
            all.slice(0, i * d_).slice(1, i * d_, (i + 1) * d_).copy_(strips_[g][i].t());
        }
        return all;
    }

    std::vector<LayerGroup> groups_;
    int64_t d_;
    std::vector<std::vector<at::Tensor>>
        strips_;              // [group][block in it]: [d, from this block to the last of the group]
    at::Tensor shift_, sum_;  // [layers, d]
    std::vector<at::Tensor> buffer_;
    int64_t buffered_ = 0, tokens_ = 0;
};

// The covariance of every block's keys, or values.
class BlockMoments {
   public:
    void add(const at::Tensor& rows) {  // [tokens, layers, kv_heads, head_dim]
        at::Tensor x = rows.reshape({rows.size(0), rows.size(1), -1});
        if (!shift_.defined()) {
            shift_ = x.mean(0);
            sum_ = at::zeros(shift_.sizes(), at::kDouble);
            products_ = at::zeros({x.size(1), x.size(2), x.size(2)}, at::kDouble);
        }
        x = (x - shift_).transpose(0, 1).contiguous();
        sum_.add_(x.sum(1, /*keepdim=*/false, at::kDouble));
        products_.add_(at::bmm(x.transpose(1, 2), x));
        tokens_ += rows.size(0);
    }

    PcaBlocks decompose(int64_t components) const {
        const at::Tensor mean = sum_ / static_cast<double>(tokens_);
        const at::Tensor covariance = products_ / static_cast<double>(tokens_) - mean.unsqueeze(2) * mean.unsqueeze(1);
        const EigenBases basis = leading_components_of_each(covariance, components);
        return {basis.vectors, (shift_ + mean).to(at::kFloat), basis.values.to(at::kFloat),
                basis.totals.to(at::kFloat)};
    }

   private:
    at::Tensor shift_, sum_, products_;
    int64_t tokens_ = 0;
};

}  // namespace

struct PcaFit::Impl {
    Impl(const ModelConfig& config, PcaSettings settings)
        : config(config), settings(settings), hidden(layer_groups(config.layers, settings.group_size), config.d_model) {
        groups.resize(layer_groups(config.layers, settings.group_size).size());
    }

    void check_rows(const StateRows& rows) const {
        if (!rows.has_hidden() || !rows.has_kv())
            throw InputError("fit: needs hidden states, keys and values of every token");
        if (decomposing) throw InputError("fit: tokens cannot be added after the decomposition has begun");
    }

    ModelConfig config;
    PcaSettings settings;
    HiddenMoments hidden;
    BlockMoments keys, values;
    int64_t tokens = 0;
    bool decomposing = false;
    std::vector<std::optional<PcaGroup>> groups;
    std::optional<PcaBlocks> key_axes, value_axes;
};

PcaFit::PcaFit(const ModelConfig& config, PcaSettings settings) {
    check_settings(settings);
    impl_ = std::make_unique<Impl>(config, settings);
}

PcaFit::~PcaFit() = default;

int64_t PcaFit::tokens() const { return impl_->tokens; }

int64_t PcaFit::parts() const { return static_cast<int64_t>(impl_->groups.size()) + 2; }

void PcaFit::add(const StateRows& rows) {
    impl_->check_rows(rows);
    const int64_t count = rows.tokens();
    if (count == 0) return;
    const int64_t stride = impl_->settings.hidden_stride;
    const int64_t first = (stride - impl_->tokens % stride) % stride;
    if (first < count) impl_->hidden.add(rows.hidden.slice(0, first, count, stride));
    impl_->keys.add(rows.key);
    impl_->values.add(rows.value);
    impl_->tokens += count;
}

void PcaFit::decompose(int64_t part) {
    if (impl_->hidden.tokens() == 0) throw InputError("fit: no tokens were added");
    if (part < 0 || part >= parts()) throw InputError("fit: there is no part " + std::to_string(part));
    impl_->decomposing = true;
    impl_->hidden.flush();
    const auto index = static_cast<size_t>(part);
    const PcaSettings& settings = impl_->settings;
    if (index < impl_->groups.size()) {
        auto& group = impl_->groups[index];
        if (!group) group = impl_->hidden.decompose(index, settings.hidden_components);
    } else if (index == impl_->groups.size()) {
        if (!impl_->key_axes) impl_->key_axes = impl_->keys.decompose(settings.key_components);
    } else if (!impl_->value_axes) {
        impl_->value_axes = impl_->values.decompose(settings.value_components);
    }
}

PcaFit::Codecs PcaFit::finish(const std::function<void(double)>& progress) {
    for (int64_t part = 0; part < parts(); ++part) {
        decompose(part);
        if (progress) progress(static_cast<double>(part + 1) / static_cast<double>(parts()));
    }
    std::vector<PcaGroup> groups;
    for (const auto& group : impl_->groups) groups.push_back(*group);
    const PcaSettings& settings = impl_->settings;
    return {make_pca_hidden(std::move(groups), settings.group_size, settings.bits),
            make_pca_kv(*impl_->key_axes, *impl_->value_axes, impl_->config.kv_heads, settings.bits)};
}

}  // namespace savepoint
