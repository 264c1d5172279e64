#include "core/sidecar/stored_values.h"

#include <ATen/ATen.h>

#include <limits>

#include "core/model/error.h"
#include "core/sidecar/quantizer.h"

namespace savepoint {

namespace {

constexpr double kLargestHalf = 65504, kHalfStep = 0x1p-10, kSmallestHalf = 0x1p-24;

at::Tensor to_half(const at::Tensor& x) { return x.clamp(-kLargestHalf, kLargestHalf).to(at::kHalf); }

// The float16 next to x that is not above it, as float32; `sign` -1: not below it.
at::Tensor half_towards(const at::Tensor& x, double sign) {
    const at::Tensor near = to_half(x).to(at::kFloat);
    const at::Tensor beyond = to_half(x - sign * (x.abs() * kHalfStep + kSmallestHalf)).to(at::kFloat);
    return at::where(at::gt((near - x) * sign, 0), beyond, near);
}

struct Grid {
    at::Tensor codes;        // uint8 [groups, size]
    at::Tensor scale, zero;  // float32 [groups, 1], exact in float16
};

Grid grid_of(const at::Tensor& groups, int bits) {
    const at::Tensor x = groups.clamp(-kLargestHalf, kLargestHalf);
    const at::Tensor zero = half_towards(x.amin(1, /*keepdim=*/true), 1);
    const double levels = (1 << bits) - 1;
    const at::Tensor scale = half_towards((x.amax(1, /*keepdim=*/true) - zero) / levels, -1);
    const at::Tensor divisor = at::where(at::gt(scale, 0), scale, at::ones_like(scale));
    return {((x - zero) / divisor).round_().clamp_(0, levels).to(at::kByte), scale, zero};
}

at::Tensor values_of(const Grid& grid) { return grid.codes.to(at::kFloat).mul_(grid.scale).add_(grid.zero); }

int64_t packed_bytes(int64_t codes, int bits) { return (codes * bits + 7) / 8; }

void pack(std::string& bytes, const at::Tensor& codes, int bits) {
    const at::Tensor flat = codes.contiguous();
    const uint8_t* from = flat.const_data_ptr<uint8_t>();
    const size_t begin = bytes.size();
    bytes.resize(begin + static_cast<size_t>(packed_bytes(flat.numel(), bits)));
    char* to = bytes.data() + begin;
    uint32_t pending = 0;
    int held = 0;
    for (int64_t i = 0; i < flat.numel(); ++i) {
        pending |= static_cast<uint32_t>(from[i]) << held;
        for (held += bits; held >= 8; held -= 8, pending >>= 8) *to++ = static_cast<char>(pending);
    }
    if (held > 0) *to = static_cast<char>(pending);
}

at::Tensor unpack(ByteReader& reader, int64_t groups, int64_t size, int bits) {
    std::string packed(static_cast<size_t>(packed_bytes(groups * size, bits)), '\0');
    reader.read(packed.data(), packed.size());
    at::Tensor codes = at::empty({groups, size}, at::kByte);
    uint8_t* to = codes.data_ptr<uint8_t>();
    const auto* from = reinterpret_cast<const uint8_t*>(packed.data());
    const uint32_t mask = (1u << bits) - 1;
    uint32_t pending = 0;
    int held = 0;
    for (int64_t i = 0; i < codes.numel(); ++i, pending >>= bits, held -= bits) {
        for (; held < bits; held += 8) pending |= static_cast<uint32_t>(*from++) << held;
        to[i] = static_cast<uint8_t>(pending & mask);
    }
    return codes;
}

void store_half(std::string& bytes, const at::Tensor& values) {
    const at::Tensor half = to_half(values).contiguous();
    bytes.append(static_cast<const char*>(half.const_data_ptr()), half.nbytes());
}

at::Tensor restore_half(ByteReader& reader, int64_t rows, int64_t columns) {
    at::Tensor half = at::empty({rows, columns}, at::kHalf);
    reader.read(half.data_ptr(), half.nbytes());
    at::Tensor values = half.to(at::kFloat);
    require_finite(values, "stored values");
    return values;
}

void store_groups(std::string& bytes, const at::Tensor& groups, int bits) {
    const Grid grid = grid_of(groups, bits);
    pack(bytes, grid.codes, bits);
    store_half(bytes, at::cat({grid.scale, grid.zero}, 1));
}

at::Tensor restore_groups(ByteReader& reader, int64_t groups, int64_t size, int bits) {
    const at::Tensor codes = unpack(reader, groups, size, bits);
    const at::Tensor pairs = restore_half(reader, groups, 2);
    return values_of({codes, pairs.slice(1, 0, 1), pairs.slice(1, 1, 2)});
}

// A row is `whole` columns of full groups and then one shorter group, or none.
struct Cut {
    int64_t whole = 0, rest = 0;
};
Cut cut_of(int64_t columns, const ValueFormat& format) {
    return {columns / format.group * format.group, columns % format.group};
}

int64_t group_bytes(int64_t groups, int64_t size, int bits) { return packed_bytes(groups * size, bits) + 4 * groups; }

}  // namespace

void check_format(const ValueFormat& format) {
    if (format.bits != 16 && (format.bits < 2 || format.bits > 8))
        throw InputError("bits: " + std::to_string(format.bits) + "; 2 to 8, or 16 for float16");
    if (format.group < 1) throw InputError("group: " + std::to_string(format.group) + "; 1 or more");
}

void check_formats(const std::vector<ValueFormat>& formats) {
    if (formats.empty()) throw InputError("formats: name at least one");
    for (const ValueFormat& format : formats) check_format(format);
}

void save_format(const ValueFormat& format, nlohmann::json& settings) {
    settings["bits"] = format.bits;
    settings["group"] = format.group;
}

ValueFormat load_format(const Fields& settings) {
    const ValueFormat format{static_cast<int>(settings.integer("bits", 2, 16)),
                             settings.integer("group", 1, std::numeric_limits<int32_t>::max())};
    if (format.bits > 8 && format.bits != 16) settings.refuse("bits", "is not 2 to 8, or 16");
    return format;
}

std::string to_string(const ValueFormat& format) {
    if (format.bits == 16) return "fp16";
    return "int" + std::to_string(format.bits) + " g" + std::to_string(format.group);
}

int64_t stored_bytes(int64_t rows, int64_t columns, const ValueFormat& format) {
    if (format.bits == 16) return 2 * rows * columns;
    const Cut cut = cut_of(columns, format);
    const int64_t rest = cut.rest > 0 ? group_bytes(rows, cut.rest, format.bits) : 0;
    return group_bytes(rows * (cut.whole / format.group), format.group, format.bits) + rest;
}

void store(std::string& bytes, const at::Tensor& values, const ValueFormat& format) {
    if (values.numel() == 0) return;
    if (format.bits == 16) return store_half(bytes, values);
    const Cut cut = cut_of(values.size(1), format);
    if (cut.whole > 0) store_groups(bytes, values.slice(1, 0, cut.whole).reshape({-1, format.group}), format.bits);
    if (cut.rest > 0) store_groups(bytes, values.slice(1, cut.whole), format.bits);
}

at::Tensor restore(ByteReader& reader, int64_t rows, int64_t columns, const ValueFormat& format) {
    if (rows * columns == 0) return at::empty({rows, columns}, at::kFloat);
    if (format.bits == 16) return restore_half(reader, rows, columns);
    const Cut cut = cut_of(columns, format);
    std::vector<at::Tensor> parts;
    if (cut.whole > 0) {
        const int64_t groups = rows * (cut.whole / format.group);
        parts.push_back(restore_groups(reader, groups, format.group, format.bits).view({rows, cut.whole}));
    }
    if (cut.rest > 0) parts.push_back(restore_groups(reader, rows, cut.rest, format.bits));
    return parts.size() == 1 ? parts[0] : at::cat(parts, 1);
}

at::Tensor rounded(const at::Tensor& values, const ValueFormat& format) {
    std::string bytes;
    store(bytes, values, format);
    ByteReader reader(bytes, "stored values");
    return restore(reader, values.size(0), values.size(1), format);
}

void require_size(const std::string& bytes, int64_t expected, const std::string& what) {
    if (static_cast<int64_t>(bytes.size()) != expected)
        throw InputError(what + ": " + std::to_string(bytes.size()) + " bytes, not the " + std::to_string(expected) +
                         " that so many tokens take");
}

}  // namespace savepoint
