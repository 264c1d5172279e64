#include "core/sidecar/codec_downsampled.h"

#include <ATen/ATen.h>

#include "core/model/error.h"
#include "core/sidecar/plane_axes.h"
#include "core/sidecar/tensor_fields.h"

namespace savepoint {

namespace {

// Of keys, or of values.
struct Kept {
    at::Tensor mask;   // uint8 [layers, kv_heads, head_dim]; as many ones in each head
    at::Tensor mean;   // float32 [layers, kv_heads * head_dim]
    at::Tensor index;  // int64 [layers, kept of all heads], derived from the mask

    Kept(at::Tensor mask, at::Tensor mean) : mask(mask), mean(mean) {
        index = mask.view({mask.size(0), -1}).nonzero().select(1, 1).view({mask.size(0), -1}).contiguous();
    }
    int64_t columns() const { return index.size(1); }

    at::Tensor pick(const at::Tensor& rows) const {
        return (rows - mean).gather(2, index.unsqueeze(0).expand({rows.size(0), -1, -1}));
    }
    at::Tensor put(const at::Tensor& picked) const {
        const at::Tensor back = at::zeros({picked.size(0), mean.size(0), mean.size(1)});
        return back.scatter(2, index.unsqueeze(0).expand({picked.size(0), -1, -1}), picked) + mean;
    }
};

class Downsampled final : public RunCodec {
   public:
    Downsampled(const StateShape& shape, int64_t reduction, ValueFormat format, Kept key, Kept value)
        : shape_(shape), reduction_(reduction), format_(format), kept_{std::move(key), std::move(value)} {}

    std::string kind() const override { return "downsampled"; }
    std::string name() const override {
        return "downsampled 1/" + std::to_string(reduction_) + " " + to_string(format_);
    }
    CodedPart part() const override { return CodedPart::kv; }

    std::string encode(const CodedRun& run) const override {
        const std::vector<at::Tensor> planes = checked_planes(run, shape_, part());
        std::string bytes;
        for (size_t p = 0; p < planes.size(); ++p)
            store(bytes, kept_[p].pick(planes[p]).view({-1, kept_[p].columns()}), format_);
        return bytes;
    }

    StateRows decode(const std::string& bytes, std::span<const TokenId> tokens, int64_t) const override {
        const auto rows = static_cast<int64_t>(tokens.size()) * shape_.layers;
        int64_t expected = 0;
        for (const Kept& kept : kept_) expected += stored_bytes(rows, kept.columns(), format_);
        require_size(bytes, expected, name());
        ByteReader reader(bytes, name());
        std::vector<at::Tensor> planes;
        for (const Kept& kept : kept_) {
            const at::Tensor picked = restore(reader, rows, kept.columns(), format_);
            planes.push_back(kept.put(picked.view({-1, shape_.layers, kept.columns()})));
        }
        return rows_from(planes, shape_, part());
    }

    void save(TensorFile& file, nlohmann::json& settings) const override {
        settings = {{"kind", kind()}, {"reduction", reduction_}};
        save_shape(shape_, settings);
        save_format(format_, settings);
        for (size_t p = 0; p < kept_.size(); ++p) {
            const std::string plane = to_string(planes_of(part())[p]);
            file.tensors[plane + ".mask"] = kept_[p].mask;
            file.tensors[plane + ".mean"] = kept_[p].mean;
        }
    }

   private:
    StateShape shape_;
    int64_t reduction_;
    ValueFormat format_;
    std::array<Kept, 2> kept_;  // keys, values
};

// Sums over tokens of x and x^2, float64.
class Spread {
   public:
    void add(const at::Tensor& rows) {  // [tokens, layers, width]
        const at::Tensor x = rows.to(at::kDouble);
        sum_ = sum_.defined() ? sum_ + x.sum(0) : x.sum(0);
        squares_ = squares_.defined() ? squares_ + x.square().sum(0) : x.square().sum(0);
        tokens_ += rows.size(0);
    }
    int64_t tokens() const { return tokens_; }
    at::Tensor mean() const { return sum_ / static_cast<double>(tokens_); }
    at::Tensor variance() const { return squares_ / static_cast<double>(tokens_) - mean().square(); }

   private:
    at::Tensor sum_, squares_;
    int64_t tokens_ = 0;
};

// The `count` largest of the last dimension, as a mask.
at::Tensor largest_mask(const at::Tensor& x, int64_t count) {
    const at::Tensor index = std::get<1>(x.topk(count, -1));
    return at::zeros(x.sizes(), at::kByte).scatter(-1, index, 1);
}

at::Tensor mask_of(const at::Tensor& variance, int64_t dims, bool in_pairs) {  // [layers, heads, head_dim]
    if (!in_pairs) return largest_mask(variance, dims);
    const int64_t half = variance.size(2) / 2;
    const at::Tensor band = variance.slice(2, 0, half) + variance.slice(2, half);
    return largest_mask(band, dims / 2).repeat({1, 1, 2});
}

class DownsampledFit final : public RunCodecFit {
   public:
    DownsampledFit(const StateShape& shape, DownsampledSettings settings)
        : shape_(shape), settings_(std::move(settings)) {}

    void add(const CodedRun& run) override {
        const std::vector<at::Tensor> planes = checked_planes(run, shape_, CodedPart::kv);
        for (size_t p = 0; p < planes.size(); ++p) spread_[p].add(planes[p]);
    }

    std::vector<std::shared_ptr<const RunCodec>> finish() override {
        if (spread_[0].tokens() == 0) throw InputError("fit: no tokens were added");
        std::vector<std::shared_ptr<const RunCodec>> codecs;
        for (const int64_t reduction : settings_.reductions) {
            const int64_t pairs = reduced(shape_.head_dim / 2, reduction);
            const Kept key = kept(0, 2 * pairs), value = kept(1, 2 * pairs);
            for (const ValueFormat& format : settings_.formats)
                codecs.push_back(std::make_shared<Downsampled>(shape_, reduction, format, key, value));
        }
        return codecs;
    }

   private:
    Kept kept(size_t plane, int64_t dims) const {
        const Spread& spread = spread_[plane];
        const at::Tensor variance = spread.variance().view({shape_.layers, shape_.kv_heads, shape_.head_dim});
        return {mask_of(variance, dims, plane == 0), spread.mean().to(at::kFloat)};
    }

    StateShape shape_;
    DownsampledSettings settings_;
    std::array<Spread, 2> spread_;
};

Kept load_kept(const TensorFile& file, const TensorFields& fields, const std::string& plane, const StateShape& shape) {
    const std::string field = plane + ".mask";
    const auto found = file.tensors.find(field);
    if (found == file.tensors.end()) fields.refuse(field, "is missing");
    const at::Tensor& mask = found->second;
    if (mask.scalar_type() != at::kByte ||
        mask.sizes() != at::IntArrayRef({shape.layers, shape.kv_heads, shape.head_dim}))
        fields.refuse(field, "is not bytes of [layers, kv_heads, head_dim]");
    const at::Tensor counts = mask.sum(2, /*keepdim=*/false, at::kLong);
    if (at::gt(mask, 1).any().item<bool>() || counts.min().item<int64_t>() < 1 ||
        at::ne(counts, counts[0][0]).any().item<bool>())
        fields.refuse(field, "does not keep as many dimensions of every head");
    return {mask.contiguous(), fields.tensor(plane + ".mean", {shape.layers, shape.kv_dim()})};
}

}  // namespace

std::unique_ptr<RunCodecFit> make_downsampled_fit(const ModelConfig& config, const DownsampledSettings& settings) {
    if (config.head_dim % 2 != 0) throw InputError("head_dim: is odd; rotary pairs need an even one");
    check_rates(settings.reductions, settings.formats);
    return std::make_unique<DownsampledFit>(shape_of(config), settings);
}

std::shared_ptr<const RunCodec> load_downsampled(const TensorFile& file, const nlohmann::json& settings,
                                                 const std::string& name) {
    const Fields fields(settings, name, "");
    require_kind(fields, "downsampled");
    const StateShape shape = load_shape(fields);
    const TensorFields tensors(file, settings, "", name);
    return std::make_shared<Downsampled>(shape, fields.integer("reduction", 1, 1 << 20), load_format(fields),
                                         load_kept(file, tensors, "key", shape),
                                         load_kept(file, tensors, "value", shape));
}

}  // namespace savepoint
