#include "core/sidecar/tensor_fields.h"

#include <ATen/ATen.h>

#include "core/model/error.h"

namespace savepoint {

namespace {

bool fits(at::IntArrayRef sizes, const std::vector<int64_t>& shape) {
    if (sizes.size() != shape.size()) return false;
    for (size_t i = 0; i < shape.size(); ++i) {
        if (shape[i] == -1 ? sizes[i] < 1 : sizes[i] != shape[i]) return false;
    }
    return true;
}

std::string shown(at::IntArrayRef sizes) {
    std::string text = "[";
    for (size_t i = 0; i < sizes.size(); ++i) {
        if (i > 0) text += ", ";
        text += sizes[i] == -1 ? "any" : std::to_string(sizes[i]);
    }
    return text + "]";
}

}  // namespace

at::Tensor TensorFields::tensor(const std::string& field, const std::vector<int64_t>& shape) const {
    const auto found = file_.tensors.find(field);
    if (found == file_.tensors.end()) refuse(field, "is missing");
    const at::Tensor& tensor = found->second;
    if (tensor.scalar_type() != at::kFloat && tensor.scalar_type() != at::kHalf)
        refuse(field, "is neither float32 nor float16");
    if (!fits(tensor.sizes(), shape)) refuse(field, "has shape " + shown(tensor.sizes()) + ", not " + shown(shape));
    if (!at::isfinite(tensor).all().item<bool>()) refuse(field, "holds NaN or infinity");
    return tensor.to(at::kFloat).contiguous();
}

void TensorFields::refuse(const std::string& field, const std::string& problem) const {
    throw FileError(name_, field + " " + problem + "; fit the sidecar again or choose another file");
}

std::string content_digest(const TensorFile& file) {
    nlohmann::json said = file.metadata;
    said.erase("digest");
    std::string text = said.dump();
    for (const auto& [name, tensor] : file.tensors) {
        const at::Tensor raw = tensor.contiguous();
        nlohmann::json shape = raw.sizes().vec();
        const auto* data = static_cast<const char*>(raw.const_data_ptr());
        text += "\n" + name + " " + at::toString(raw.scalar_type()) + " " + shape.dump() + " " +
                sha256_hex(std::string(data, static_cast<size_t>(raw.nbytes())));
    }
    return sha256_hex(text);
}

void check_digest(const TensorFile& file, const std::string& name) {
    const auto found = file.metadata.find("digest");
    if (found == file.metadata.end() || found->second != content_digest(file)) {
        throw FileError(name, "digest differs from its contents: the file is damaged; fit the sidecar again");
    }
}

}  // namespace savepoint
