#include "core/sidecar/codec_quantized.h"

#include <ATen/ATen.h>

#include <cmath>

#include "core/model/error.h"

namespace savepoint {

namespace {

struct PlaneFormat {
    int bits = 4;
    GroupAxis axis = GroupAxis::token;
};

PlaneFormat format_of(const QuantizedSettings& settings, Plane plane) {
    if (plane == Plane::hidden) return {settings.hidden_bits, settings.hidden_axis};
    if (plane == Plane::key) return {settings.key_bits, settings.key_axis};
    return {settings.value_bits, settings.value_axis};
}

// How the tokens of a plane are kept, from the first to the last.
struct Split {
    int64_t grouped = 0;  // tokens in full groups (per token: all that are quantised)
    int64_t shorter = 0;  // tokens of a short group per channel
    int64_t exact = 0;    // in float16
};

Split split_of(int64_t tokens, const QuantizedSettings& settings, GroupAxis axis) {
    const int64_t closed = std::max<int64_t>(0, tokens - settings.window);
    if (axis == GroupAxis::token) return {closed, 0, tokens - closed};
    const int64_t grouped = closed / settings.group * settings.group;
    const int64_t shorter = settings.short_group ? closed - grouped : 0;
    return {grouped, shorter, tokens - grouped - shorter};
}

// [tokens, channels] <-> [blocks * channels, size], where each row is one channel of `size` neighbouring tokens.
at::Tensor by_channel(const at::Tensor& x, int64_t size) {
    return x.view({-1, size, x.size(1)}).transpose(1, 2).reshape({-1, size});
}
at::Tensor by_token(const at::Tensor& groups, int64_t channels) {
    return groups.view({-1, channels, groups.size(1)}).transpose(1, 2).reshape({-1, channels});
}

int64_t plane_bytes(int64_t tokens, int64_t channels, const QuantizedSettings& settings, PlaneFormat format) {
    const Split split = split_of(tokens, settings, format.axis);
    const ValueFormat full{format.bits, settings.group}, shorter{format.bits, split.shorter};
    int64_t bytes = 2 * split.exact * channels;
    if (format.axis == GroupAxis::token) return bytes + stored_bytes(split.grouped, channels, full);
    bytes += stored_bytes(split.grouped / settings.group * channels, settings.group, full);
    if (split.shorter > 0) bytes += stored_bytes(channels, split.shorter, shorter);
    return bytes;
}

void store_plane(std::string& bytes, const at::Tensor& rows, const at::Tensor& turned,
                 const QuantizedSettings& settings, PlaneFormat format) {
    const Split split = split_of(rows.size(0), settings, format.axis);
    const ValueFormat full{format.bits, settings.group}, shorter{format.bits, split.shorter};
    const at::Tensor grouped = turned.slice(0, 0, split.grouped);
    const bool per_token = format.axis == GroupAxis::token;
    if (split.grouped > 0) store(bytes, per_token ? grouped : by_channel(grouped, settings.group), full);
    if (split.shorter > 0)
        store(bytes, by_channel(turned.slice(0, split.grouped, split.grouped + split.shorter), split.shorter), shorter);
    store(bytes, rows.slice(0, rows.size(0) - split.exact), ValueFormat{});
}

struct DecodedPlane {
    at::Tensor turned, exact;  // [tokens, channels]; the quantised tokens, still turned, and the others
};

DecodedPlane restore_plane(ByteReader& reader, int64_t tokens, int64_t channels, const QuantizedSettings& settings,
                           PlaneFormat format) {
    const Split split = split_of(tokens, settings, format.axis);
    const ValueFormat full{format.bits, settings.group}, shorter{format.bits, split.shorter};
    std::vector<at::Tensor> parts = {at::empty({0, channels}, at::kFloat)};
    if (format.axis == GroupAxis::token) {
        parts.push_back(restore(reader, split.grouped, channels, full));
    } else if (split.grouped > 0) {
        const int64_t rows = split.grouped / settings.group * channels;
        parts.push_back(by_token(restore(reader, rows, settings.group, full), channels));
    }
    if (split.shorter > 0) parts.push_back(by_token(restore(reader, channels, split.shorter, shorter), channels));
    return {at::cat(parts), restore(reader, split.exact, channels, ValueFormat{})};
}

int64_t largest_power_of_two_in(int64_t n) { return n & -n; }

std::string described(PlaneFormat format) { return format.axis == GroupAxis::channel ? "channel" : "token"; }

class Quantized final : public RunCodec {
   public:
    Quantized(const StateShape& shape, const QuantizedSettings& settings) : shape_(shape), settings_(settings) {}

    std::string kind() const override { return "quantized"; }
    std::string name() const override;
    CodedPart part() const override { return settings_.part; }

    std::string encode(const CodedRun& run) const override {
        const std::vector<at::Tensor> planes = checked_planes(run, shape_, settings_.part);
        std::string bytes;
        size_t next = 0;
        for (const Plane plane : planes_of(settings_.part)) {
            const at::Tensor rows = planes[next++].view({run.rows.tokens(), channels(plane)});
            store_plane(bytes, rows, turned(rows, plane), settings_, format_of(settings_, plane));
        }
        return bytes;
    }

    StateRows decode(const std::string& bytes, std::span<const TokenId> tokens, int64_t) const override {
        const auto count = static_cast<int64_t>(tokens.size());
        require_size(bytes, bytes_of(count), name());
        ByteReader reader(bytes, name());
        std::vector<at::Tensor> planes;
        for (const Plane plane : planes_of(settings_.part)) {
            const DecodedPlane parts =
                restore_plane(reader, count, channels(plane), settings_, format_of(settings_, plane));
            planes.push_back(at::cat({turned(parts.turned, plane), parts.exact}));
        }
        reader.expect_end();
        return rows_from(planes, shape_, settings_.part);
    }

    void save(TensorFile& file, nlohmann::json& settings) const override;

   private:
    int64_t channels(Plane plane) const { return shape_.layers * width_of(shape_, plane); }

    int64_t bytes_of(int64_t tokens) const {
        int64_t bytes = 0;
        for (const Plane plane : planes_of(settings_.part))
            bytes += plane_bytes(tokens, channels(plane), settings_, format_of(settings_, plane));
        return bytes;
    }

    at::Tensor turned(const at::Tensor& rows, Plane plane) const {
        if (!settings_.hadamard) return rows;
        return hadamard(rows, largest_power_of_two_in(plane == Plane::hidden ? shape_.d_model : shape_.head_dim));
    }

    StateShape shape_;
    QuantizedSettings settings_;
};

// What differs from KIVI's scheme is said; what does not is left out.
std::string Quantized::name() const {
    std::string name = "quantized", bits, axes;
    const QuantizedSettings usual;
    for (const Plane plane : planes_of(settings_.part)) {
        const PlaneFormat format = format_of(settings_, plane);
        const std::string code = "int" + std::to_string(format.bits);
        if (bits.empty()) bits = code;
        if (!bits.ends_with(code)) bits += "/" + code;
        if (format.axis != format_of(usual, plane).axis) axes += " " + to_string(plane) + ":" + described(format);
    }
    if (settings_.part != CodedPart::kv) name += " " + to_string(settings_.part);
    name += " " + bits + " g" + std::to_string(settings_.group) + axes;
    if (settings_.window > 0) name += " window" + std::to_string(settings_.window);
    if (settings_.hadamard) name += " hadamard";
    return settings_.short_group ? name + " short" : name;
}

void Quantized::save(TensorFile&, nlohmann::json& settings) const {
    settings = {{"kind", kind()}, {"group", settings_.group}, {"window", settings_.window}};
    save_part(settings_.part, settings);
    save_shape(shape_, settings);
    settings["hadamard"] = settings_.hadamard;
    settings["short_group"] = settings_.short_group;
    for (const Plane plane : planes_of(CodedPart::full)) {
        const PlaneFormat format = format_of(settings_, plane);
        settings[to_string(plane) + "_bits"] = format.bits;
        settings[to_string(plane) + "_axis"] = described(format);
    }
}

void check(const StateShape& shape, const QuantizedSettings& settings) {
    if (settings.window < 0) throw InputError("window: " + std::to_string(settings.window) + "; 0 or more tokens");
    for (const Plane plane : planes_of(CodedPart::full)) {
        const PlaneFormat format = format_of(settings, plane);
        if (format.bits == 16) throw InputError(to_string(plane) + "_bits: 16; 2 to 8");
        check_format({format.bits, settings.group});
    }
    for (const Plane plane : planes_of(settings.part)) {
        const int64_t width = width_of(shape, plane);
        if (format_of(settings, plane).axis == GroupAxis::token && width % settings.group != 0)
            throw InputError("group: " + std::to_string(settings.group) + " does not divide the " +
                             std::to_string(width) + " channels of a layer's " + to_string(plane));
    }
}

GroupAxis load_axis(const Fields& fields, const std::string& field) {
    const std::string axis = fields.text(field);
    if (axis != "channel" && axis != "token") fields.refuse(field, "is " + axis + "; channel or token");
    return axis == "channel" ? GroupAxis::channel : GroupAxis::token;
}

QuantizedSettings load_settings(const Fields& fields) {
    QuantizedSettings settings;
    settings.part = load_part(fields);
    const auto bits = [&](const char* field) { return static_cast<int>(fields.integer(field, 2, 8)); };
    settings.hidden_bits = bits("hidden_bits");
    settings.key_bits = bits("key_bits");
    settings.value_bits = bits("value_bits");
    settings.hidden_axis = load_axis(fields, "hidden_axis");
    settings.key_axis = load_axis(fields, "key_axis");
    settings.value_axis = load_axis(fields, "value_axis");
    settings.group = fields.integer("group", 1, 1 << 20);
    settings.window = fields.integer("window", 0, 1 << 30);
    settings.hadamard = fields.boolean("hadamard");
    settings.short_group = fields.boolean("short_group");
    return settings;
}

}  // namespace

at::Tensor hadamard(const at::Tensor& x, int64_t size) {
    const std::vector<int64_t> sizes = x.sizes().vec();
    at::Tensor y = x.reshape({-1, size});
    for (int64_t half = size / 2; half >= 1; half /= 2) {
        const at::Tensor pairs = y.reshape({-1, 2, half});
        const at::Tensor a = pairs.select(1, 0), b = pairs.select(1, 1);
        y = at::stack({a + b, a - b}, 1).view({-1, size});
    }
    return (y / std::sqrt(static_cast<double>(size))).reshape(sizes);
}

std::shared_ptr<const RunCodec> make_quantized(const ModelConfig& config, const QuantizedSettings& settings) {
    check(shape_of(config), settings);
    return std::make_shared<Quantized>(shape_of(config), settings);
}

std::shared_ptr<const RunCodec> load_quantized(const TensorFile&, const nlohmann::json& settings,
                                               const std::string& name) {
    const Fields fields(settings, name, "");
    require_kind(fields, "quantized");
    const StateShape shape = load_shape(fields);
    const QuantizedSettings read = load_settings(fields);
    try {
        check(shape, read);
    } catch (const InputError& error) {
        throw FileError(name, error.what());
    }
    return std::make_shared<Quantized>(shape, read);
}

}  // namespace savepoint
