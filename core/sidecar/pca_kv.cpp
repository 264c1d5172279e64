#include <ATen/ATen.h>

#include "core/model/error.h"
#include "core/sidecar/pca_codec.h"
#include "core/sidecar/pca_parts.h"
#include "core/sidecar/tensor_fields.h"

namespace savepoint {

namespace {

// Keys, or values: the axes and the grid of every block.
struct Half {
    PcaBlocks axes;
    Quantizer quantizer;

    int64_t layers() const { return axes.basis.size(0); }
    int64_t components() const { return axes.basis.size(1); }
    int64_t width() const { return axes.basis.size(2); }
};

class PcaKv final : public KvCodec {
   public:
    PcaKv(Half key, Half value, int64_t kv_heads)
        : key_(std::move(key)), value_(std::move(value)), kv_heads_(kv_heads) {}

    std::string kind() const override { return "pca"; }
    int64_t key_components() const override { return key_.components(); }
    int64_t value_components() const override { return value_.components(); }
    at::Tensor encode_keys(const at::Tensor& key) const override { return encode(key_, key, "key"); }
    at::Tensor encode_values(const at::Tensor& value) const override { return encode(value_, value, "value"); }
    at::Tensor decode_keys(const at::Tensor& z) const override { return decode(key_, z, "key"); }
    at::Tensor decode_values(const at::Tensor& z) const override { return decode(value_, z, "value"); }
    at::Tensor key_std() const override { return key_.axes.variance.sqrt(); }
    at::Tensor value_std() const override { return value_.axes.variance.sqrt(); }
    // Zero by construction: the axes start at the mean.
    at::Tensor key_mean() const override { return at::zeros_like(key_.axes.variance); }
    at::Tensor value_mean() const override { return at::zeros_like(value_.axes.variance); }
    at::Tensor key_explained() const override { return key_.axes.variance / key_.axes.total.unsqueeze(1); }
    at::Tensor value_explained() const override { return value_.axes.variance / value_.axes.total.unsqueeze(1); }

    double bytes_per_token() const override {
        return static_cast<double>(key_.quantizer.row_bytes() + value_.quantizer.row_bytes());
    }

    std::string pack(const at::Tensor& key_z, const at::Tensor& value_z) const override {
        return pack_half(key_, key_z, "key") + pack_half(value_, value_z, "value");
    }

    void unpack(const std::string& bytes, int64_t tokens, at::Tensor& key_z, at::Tensor& value_z) const override {
        const int64_t row = key_.quantizer.row_bytes() + value_.quantizer.row_bytes();
        const auto size = static_cast<int64_t>(bytes.size());
        if (tokens < 0 || size % row != 0 || size / row != tokens) {
            throw InputError("packed latent: " + std::to_string(size) + " bytes do not hold " + std::to_string(tokens) +
                             " tokens of " + std::to_string(row) + " bytes");
        }
        const auto split = static_cast<size_t>(tokens * key_.quantizer.row_bytes());
        key_z = unpack_half(key_, bytes.substr(0, split), tokens);
        value_z = unpack_half(value_, bytes.substr(split), tokens);
    }

    void save(TensorFile& file, nlohmann::json& settings) const override {
        settings = {{"kind", kind()},
                    {"layers", key_.layers()},
                    {"kv_heads", kv_heads_},
                    {"head_dim", key_.width() / kv_heads_},
                    {"bits", key_.quantizer.bits()}};
        save_half(file, "key.", key_);
        save_half(file, "value.", value_);
    }

   private:
    at::Tensor encode(const Half& half, const at::Tensor& rows, const char* what) const {
        if (!rows.defined() || rows.dim() != 4 || rows.size(1) != half.layers() || rows.size(2) != kv_heads_ ||
            rows.size(2) * rows.size(3) != half.width()) {
            throw InputError(std::string(what) + ": this sidecar codes [tokens, " + std::to_string(half.layers()) +
                             ", " + std::to_string(kv_heads_) + ", " + std::to_string(half.width() / kv_heads_) +
                             "]; fit one for this model");
        }
        require_finite(rows, what);
        const at::Tensor centred = rows.reshape({rows.size(0), half.layers(), -1}) - half.axes.mean;
        const at::Tensor z = at::bmm(centred.transpose(0, 1), half.axes.basis.transpose(1, 2)).transpose(0, 1);
        return half.quantizer.round(z.reshape({rows.size(0), -1})).view({rows.size(0), half.layers(), -1});
    }

    at::Tensor decode(const Half& half, const at::Tensor& z, const char* what) const {
        check_latent(half, z, what);
        require_finite(z, "latent");
        const at::Tensor rows = at::bmm(z.transpose(0, 1), half.axes.basis).transpose(0, 1) + half.axes.mean;
        return rows.reshape({z.size(0), half.layers(), kv_heads_, -1});
    }

    static void check_latent(const Half& half, const at::Tensor& z, const char* what) {
        if (!z.defined() || z.dim() != 3 || z.size(1) != half.layers() || z.size(2) != half.components()) {
            throw InputError(std::string("latent: ") + what + " part is not [tokens, " + std::to_string(half.layers()) +
                             ", " + std::to_string(half.components()) + "]");
        }
    }

    static std::string pack_half(const Half& half, const at::Tensor& z, const char* what) {
        check_latent(half, z, what);
        return half.quantizer.pack(z.reshape({z.size(0), -1}));
    }

    static at::Tensor unpack_half(const Half& half, const std::string& bytes, int64_t tokens) {
        return half.quantizer.unpack(bytes, tokens).view({tokens, half.layers(), half.components()});
    }

    static void save_half(TensorFile& file, const std::string& prefix, const Half& half) {
        file.tensors[prefix + "basis"] = half.axes.basis;
        file.tensors[prefix + "mean"] = half.axes.mean;
        file.tensors[prefix + "variance"] = half.axes.variance;
        file.tensors[prefix + "total"] = half.axes.total;
        file.tensors[prefix + "low"] = half.quantizer.low();
        file.tensors[prefix + "high"] = half.quantizer.high();
    }

    Half key_, value_;
    int64_t kv_heads_;
};

Half load_half(const TensorFields& fields, const std::string& prefix, int64_t layers, int64_t width, int bits) {
    PcaBlocks axes{fields.tensor(prefix + "basis", {layers, -1, width}),
                   fields.tensor(prefix + "mean", {layers, width}),
                   {},
                   fields.tensor(prefix + "total", {layers})};
    const int64_t components = axes.basis.size(1);
    if (components > width) fields.refuse(prefix + "basis", "has more components than dimensions");
    axes.variance = fields.tensor(prefix + "variance", {layers, components});
    if (!(axes.variance >= 0).all().item<bool>()) fields.refuse(prefix + "variance", "is negative");
    if (!(axes.total > 0).all().item<bool>()) fields.refuse(prefix + "total", "is not positive");
    const at::Tensor low = fields.tensor(prefix + "low", {layers * components});
    const at::Tensor high = fields.tensor(prefix + "high", {layers * components});
    try {
        return {std::move(axes), Quantizer(bits, low, high)};
    } catch (const InputError& error) {
        fields.refuse(prefix + "grid", error.what());
    }
}

Half make_half(PcaBlocks axes, int bits) {
    axes.total = axes.total.clamp_min(1e-30);
    const at::Tensor bound = (axes.variance.sqrt() * kKvHalfWidth[bits]).reshape({-1});
    return {std::move(axes), Quantizer(bits, -bound, bound)};
}

}  // namespace

std::shared_ptr<const KvCodec> make_pca_kv(PcaBlocks key, PcaBlocks value, int64_t kv_heads, int bits) {
    return std::make_shared<PcaKv>(make_half(std::move(key), bits), make_half(std::move(value), bits), kv_heads);
}

std::shared_ptr<const KvCodec> load_pca_kv(const TensorFile& file, const nlohmann::json& settings,
                                           const std::string& name) {
    const TensorFields fields(file, settings, "kv", name);
    const int64_t layers = fields.integer("layers", 1, 4096);
    const int64_t kv_heads = fields.integer("kv_heads", 1, 1024);
    const int64_t head_dim = fields.integer("head_dim", 1, 4096);
    const auto bits = static_cast<int>(fields.integer("bits", 0, 8));
    return std::make_shared<PcaKv>(load_half(fields, "key.", layers, kv_heads * head_dim, bits),
                                   load_half(fields, "value.", layers, kv_heads * head_dim, bits), kv_heads);
}

}  // namespace savepoint
