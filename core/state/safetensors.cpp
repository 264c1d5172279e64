#include "core/state/safetensors.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <fstream>
#include <limits>
#include <utility>
#include <vector>

#include "core/model/error.h"
#include "core/state/files.h"
#include "core/state/json_fields.h"

namespace savepoint {

static_assert(std::endian::native == std::endian::little, "safetensors is little-endian and is copied as it is");

namespace {

using nlohmann::json;

constexpr uint64_t kLengthBytes = 8;
constexpr uint64_t kLongestHeader = 100'000'000;  // the limit of the Rust crate
constexpr size_t kMostDimensions = 64;
constexpr auto kMetadata = "__metadata__";

struct DtypeName {
    at::ScalarType type;
    const char* name;
};

constexpr std::array<DtypeName, 10> kDtypes = {{{at::kFloat, "F32"},
                                                {at::kHalf, "F16"},
                                                {at::kBFloat16, "BF16"},
                                                {at::kDouble, "F64"},
                                                {at::kLong, "I64"},
                                                {at::kInt, "I32"},
                                                {at::kShort, "I16"},
                                                {at::kChar, "I8"},
                                                {at::kByte, "U8"},
                                                {at::kBool, "BOOL"}}};

std::string dtype_name(at::ScalarType type, const std::string& tensor) {
    for (const auto& entry : kDtypes)
        if (entry.type == type) return entry.name;
    throw InputError("tensor " + tensor + ": its type cannot be stored as safetensors");
}

at::ScalarType dtype_from(const Fields& info) {
    const std::string name = info.text("dtype");
    for (const auto& entry : kDtypes)
        if (name == entry.name) return entry.type;
    info.refuse("dtype", "is " + name + ", which Savepoint does not read");
}

// -- writing ------------------------------------------------------------------------------------------

using Named = std::pair<std::string, at::Tensor>;

// Wide types first, as the Rust crate does it, so that each tensor begins on a multiple of its item size.
std::vector<Named> in_file_order(const TensorFile& file) {
    std::vector<Named> order;
    for (const auto& [name, tensor] : file.tensors) {
        if (!tensor.defined()) throw InputError("tensor " + name + " is undefined and cannot be stored");
        if (name == kMetadata) throw InputError("a tensor cannot be named __metadata__");
        order.emplace_back(name, tensor.detach().to(at::kCPU).contiguous());
    }
    std::stable_sort(order.begin(), order.end(),
                     [](const Named& a, const Named& b) { return a.second.element_size() > b.second.element_size(); });
    return order;
}

std::string header_of(const std::vector<Named>& order, const std::map<std::string, std::string>& metadata) {
    nlohmann::ordered_json header = nlohmann::ordered_json::object();
    if (!metadata.empty()) header[kMetadata] = metadata;
    uint64_t offset = 0;
    for (const auto& [name, tensor] : order) {
        const uint64_t end = offset + tensor.nbytes();
        header[name] = {{"dtype", dtype_name(tensor.scalar_type(), name)},
                        {"shape", tensor.sizes().vec()},
                        {"data_offsets", {offset, end}}};
        offset = end;
    }
    std::string text = header.dump(-1, ' ', false, json::error_handler_t::replace);
    text.append((kLengthBytes - text.size() % kLengthBytes) % kLengthBytes, ' ');
    return text;
}

// -- reading ------------------------------------------------------------------------------------------

struct Entry {
    std::string name;
    at::ScalarType type;
    std::vector<int64_t> shape;
    uint64_t begin, end;
};

std::vector<int64_t> shape_from(const Fields& info) {
    const json& dimensions = info.array("shape");
    if (dimensions.size() > kMostDimensions) info.refuse("shape", "has too many dimensions");
    std::vector<int64_t> shape;
    for (const json& dimension : dimensions) {
        if (!dimension.is_number_unsigned() ||
            dimension.get<uint64_t>() > static_cast<uint64_t>(std::numeric_limits<int64_t>::max()))
            info.refuse("shape", "holds " + dimension.dump() + ", which is no size");
        shape.push_back(dimension.get<int64_t>());
    }
    return shape;
}

// Zeros count as ones, as strides are products too and must not overflow beside an empty dimension.
uint64_t bytes_of(const Fields& info, const std::vector<int64_t>& shape, at::ScalarType type) {
    int64_t product = static_cast<int64_t>(c10::elementSize(type));
    bool empty = false;
    for (const int64_t dimension : shape) {
        empty |= dimension == 0;
        if (__builtin_mul_overflow(product, std::max<int64_t>(dimension, 1), &product))
            info.refuse("shape", "is too large");
    }
    return empty ? 0 : static_cast<uint64_t>(product);
}

Entry entry_from(const std::string& name, const Fields& info, uint64_t data_bytes) {
    Entry entry{name, dtype_from(info), shape_from(info), 0, 0};
    const json& offsets = info.array("data_offsets");
    if (offsets.size() != 2 || !offsets[0].is_number_unsigned() || !offsets[1].is_number_unsigned())
        info.refuse("data_offsets", "is not a pair of offsets");
    entry.begin = offsets[0].get<uint64_t>();
    entry.end = offsets[1].get<uint64_t>();
    if (entry.begin > entry.end || entry.end > data_bytes) info.refuse("data_offsets", "lies outside the file");
    if (entry.end - entry.begin != bytes_of(info, entry.shape, entry.type))
        info.refuse("data_offsets", "does not fit the shape and dtype");
    return entry;
}

// As the Rust crate: the tensors fill the data exactly, one after the other. No two overlap, and
// nothing hides between them.
void check_layout(std::vector<Entry> entries, uint64_t data_bytes, const std::string& name) {
    std::sort(entries.begin(), entries.end(),
              [](const Entry& a, const Entry& b) { return std::pair(a.begin, a.end) < std::pair(b.begin, b.end); });
    uint64_t expected = 0;
    for (const Entry& entry : entries) {
        if (entry.begin != expected)
            throw FileError(name, "tensor " + entry.name + " overlaps another or leaves a gap");
        expected = entry.end;
    }
    if (expected != data_bytes)
        throw FileError(name, "the tensors do not fill the file; it is cut off or has been added to");
}

uint64_t header_length(const std::string& bytes, const std::string& name) {
    if (bytes.size() < kLengthBytes) throw FileError(name, "is too short for a safetensors file");
    uint64_t length = 0;
    std::memcpy(&length, bytes.data(), kLengthBytes);
    if (length > kLongestHeader || length > bytes.size() - kLengthBytes)
        throw FileError(
            name, "is no safetensors file, or is cut off: its header would have " + std::to_string(length) + " bytes");
    return length;
}

std::map<std::string, std::string> metadata_from(const json& value, const std::string& name) {
    if (!value.is_object()) throw FileError(name, "__metadata__ is not a JSON object");
    std::map<std::string, std::string> metadata;
    for (const auto& [key, text] : value.items()) {
        if (!text.is_string()) throw FileError(name, "__metadata__." + key + " is not a string");
        metadata[key] = text.get<std::string>();
    }
    return metadata;
}

at::Tensor tensor_from(const Entry& entry, const char* data) {
    at::Tensor tensor = at::empty(entry.shape, at::TensorOptions().dtype(entry.type));
    if (entry.end > entry.begin) std::memcpy(tensor.data_ptr(), data + entry.begin, entry.end - entry.begin);
    if (entry.type != at::kBool) return tensor;
    // A C++ bool other than 0 or 1 is undefined behaviour: take any set byte as true.
    auto* flags = static_cast<unsigned char*>(tensor.data_ptr());
    std::transform(flags, flags + tensor.numel(), flags, [](unsigned char c) { return c != 0; });
    return tensor;
}

}  // namespace

std::string to_safetensors(const TensorFile& file) {
    const std::vector<Named> order = in_file_order(file);
    const std::string header = header_of(order, file.metadata);
    uint64_t total = kLengthBytes + header.size();
    for (const auto& [name, tensor] : order) total += tensor.nbytes();
    std::string bytes;
    bytes.reserve(total);
    const uint64_t length = header.size();
    bytes.append(reinterpret_cast<const char*>(&length), kLengthBytes);
    bytes.append(header);
    for (const auto& [name, tensor] : order)
        if (tensor.nbytes() > 0) bytes.append(static_cast<const char*>(tensor.data_ptr()), tensor.nbytes());
    return bytes;
}

TensorFile from_safetensors(const std::string& bytes, const std::string& name) {
    const uint64_t length = header_length(bytes, name);
    const json header = parse_json(bytes.substr(kLengthBytes, length), name);
    if (!header.is_object()) throw FileError(name, "the safetensors header is not a JSON object");
    const uint64_t data_begin = kLengthBytes + length, data_bytes = bytes.size() - data_begin;
    TensorFile file;
    std::vector<Entry> entries;
    for (const auto& [key, value] : header.items()) {
        if (key == kMetadata)
            file.metadata = metadata_from(value, name);
        else
            entries.push_back(entry_from(key, Fields(value, name, key), data_bytes));
    }
    check_layout(entries, data_bytes, name);
    for (const Entry& entry : entries) file.tensors[entry.name] = tensor_from(entry, bytes.data() + data_begin);
    return file;
}

TensorFile read_safetensors(const std::string& path) { return from_safetensors(read_file(path), path); }

std::map<std::string, std::string> read_safetensors_metadata(const std::string& path) {
    std::ifstream file(path, std::ios::binary);
    if (!file) throw FileError(path, "cannot be opened");
    uint64_t length = 0;
    file.read(reinterpret_cast<char*>(&length), kLengthBytes);
    if (!file || length > kLongestHeader) throw FileError(path, "is no safetensors file");
    std::string text(length, ' ');
    file.read(text.data(), static_cast<std::streamsize>(length));
    if (!file) throw FileError(path, "is cut off in its header");
    const json header = parse_json(text, path);
    if (!header.is_object()) throw FileError(path, "the safetensors header is not a JSON object");
    return header.contains(kMetadata) ? metadata_from(header[kMetadata], path) : std::map<std::string, std::string>();
}

void write_safetensors(const std::string& path, const TensorFile& file) {
    write_atomically(path, to_safetensors(file));
}

}  // namespace savepoint
