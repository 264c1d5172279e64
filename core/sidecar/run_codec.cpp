#include "core/sidecar/run_codec.h"

#include <cstring>

#include "core/model/error.h"

namespace savepoint {

std::string to_string(CodedPart part) {
    return part == CodedPart::hidden ? "hidden" : part == CodedPart::kv ? "kv" : "full";
}

double fp16_bytes(const ModelConfig& config, CodedPart part) {
    const auto hidden = static_cast<double>(2 * config.layers * config.d_model),
               kv = static_cast<double>(4 * config.layers * config.kv_dim());
    return part == CodedPart::hidden ? hidden : part == CodedPart::kv ? kv : hidden + kv;
}

CodedPart coded_part_from(const std::string& name) {
    for (const CodedPart part : {CodedPart::hidden, CodedPart::kv, CodedPart::full})
        if (to_string(part) == name) return part;
    throw InputError("part: \"" + name + "\"; one of hidden, kv, full");
}

int64_t RunCodec::sidecar_bytes() const {
    TensorFile file;
    nlohmann::json settings;
    save(file, settings);
    return static_cast<int64_t>(to_safetensors(file).size());
}

void ByteReader::read(void* to, size_t count) {
    if (count > bytes_.size() - at_)
        throw InputError(what_ + ": ends after " + std::to_string(bytes_.size()) + " bytes");
    std::memcpy(to, bytes_.data() + at_, count);
    at_ += count;
}

std::string_view ByteReader::rest() {
    const std::string_view rest = std::string_view(bytes_).substr(at_);
    at_ = bytes_.size();
    return rest;
}

void ByteReader::expect_end() const {
    if (at_ != bytes_.size()) throw InputError(what_ + ": " + std::to_string(bytes_.size() - at_) + " bytes too many");
}

std::string joined_parts(const std::vector<std::string>& parts) {
    std::string bytes;
    for (const std::string& part : parts) {
        const auto size = static_cast<uint32_t>(part.size());
        bytes.append(reinterpret_cast<const char*>(&size), sizeof size);
        bytes += part;
    }
    return bytes;
}

std::vector<std::string> split_parts(const std::string& bytes, size_t count) {
    std::vector<std::string> parts;
    ByteReader reader(bytes, "coded states");
    for (size_t i = 0; i < count; ++i) {
        const auto size = reader.number<uint32_t>();
        if (size > bytes.size()) throw InputError("coded states: a part is longer than all of it");
        parts.emplace_back(size, '\0');
        reader.read(parts.back().data(), size);
    }
    reader.expect_end();
    return parts;
}

}  // namespace savepoint
