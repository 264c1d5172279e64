#include "core/analysis/learned_phi.h"

#include <ATen/ATen.h>

#include <charconv>
#include <filesystem>
#include <optional>

#include "core/analysis/phi_ranking_settings.h"
#include "core/model/error.h"
#include "core/sidecar/tensor_fields.h"
#include "core/state/safetensors.h"

namespace savepoint {

namespace {

constexpr const char* kFormat = "savepoint-hedgehog";

std::string path_in(const std::string& folder, bool rotary) {
    return (std::filesystem::path(folder) / (rotary ? "hedgehog-rotary.safetensors" : "hedgehog.safetensors")).string();
}

struct StoredPhi {
    std::shared_ptr<const Phi> phi;
    int64_t texts = 0;
};

// Older files do not say how many texts: they hold what the default number gave.
int64_t texts_of(const std::string& entry) {
    int64_t texts = 0;
    const auto read = std::from_chars(entry.data(), entry.data() + entry.size(), texts);
    return read.ec == std::errc() && texts > 0 ? texts : PhiRankingSettings().hedgehog_steps;
}

std::optional<StoredPhi> stored_phi(const std::string& folder, bool rotary, const std::string& model_sha256) {
    const std::string path = path_in(folder, rotary);
    if (!std::filesystem::exists(path)) return std::nullopt;
    const TensorFile file = read_safetensors(path);
    const auto entry = [&](const char* key) {
        const auto found = file.metadata.find(key);
        return found == file.metadata.end() ? std::string() : found->second;
    };
    if (entry("format") != kFormat || !file.tensors.contains("query") || !file.tensors.contains("key"))
        throw FileError(path, "is not a learned phi; fit it again with `savepoint phi --phi hedgehog`");
    check_digest(file, path);
    if (entry("model_sha256") != model_sha256)
        throw FileError(path, "was learned on another model; fit it again with `savepoint phi --phi hedgehog`");
    const at::Tensor query = file.tensors.at("query").to(at::kFloat), key = file.tensors.at("key").to(at::kFloat);
    if (!query.isfinite().all().item<bool>() || !key.isfinite().all().item<bool>())
        throw FileError(path, "holds a value that is not finite; fit it again");
    PhiSettings settings;
    settings.rotary = rotary;
    return StoredPhi{std::make_shared<const Phi>(Phi::hedgehog(settings, query, key)), texts_of(entry("texts"))};
}

}  // namespace

void save_learned_phi(const std::string& folder, const Phi& phi, int64_t texts, const std::string& model_sha256) {
    if (phi.settings().kind != PhiKind::hedgehog) throw InputError("phi: only a learned one is saved");
    std::error_code problem;
    std::filesystem::create_directories(folder, problem);
    if (problem) throw FileError(folder, "cannot be made: " + problem.message() + "; choose another folder");
    TensorFile file;
    file.tensors["query"] = phi.query_maps();
    file.tensors["key"] = phi.key_maps();
    file.metadata["format"] = kFormat;
    file.metadata["model_sha256"] = model_sha256;
    file.metadata["texts"] = std::to_string(texts);
    file.metadata["digest"] = content_digest(file);
    write_safetensors(path_in(folder, phi.settings().rotary), file);
}

bool keep_learned_phi(const std::string& folder, const Phi& phi, int64_t texts, const std::string& model_sha256) {
    int64_t kept = 0;
    try {
        if (const auto stored = stored_phi(folder, phi.settings().rotary, model_sha256)) kept = stored->texts;
    } catch (const FileError&) {
        kept = 0;
    }
    if (texts < kept) return false;
    save_learned_phi(folder, phi, texts, model_sha256);
    return true;
}

std::shared_ptr<const Phi> load_learned_phi(const std::string& folder, bool rotary, const std::string& model_sha256) {
    const auto stored = stored_phi(folder, rotary, model_sha256);
    return stored ? stored->phi : nullptr;
}

std::shared_ptr<const Phi> usable_learned_phi(const std::string& folder, bool rotary, const std::string& model_sha256) {
    if (folder.empty()) return nullptr;
    try {
        return load_learned_phi(folder, rotary, model_sha256);
    } catch (const FileError&) {
        return nullptr;
    }
}

std::shared_ptr<const Phi> phi_for(const PhiSettings& settings, const ModelConfig& config, const std::string& folder,
                                   const std::string& model_sha256) {
    if (settings.kind != PhiKind::hedgehog) return std::make_shared<const Phi>(settings, config.head_dim);
    const auto learned = folder.empty() ? nullptr : load_learned_phi(folder, settings.rotary, model_sha256);
    if (!learned)
        throw InputError(
            "phi: none is learned for this model yet; rank feature maps with it first (`savepoint phi`), or fit an "
            "anomaly reference of it");
    return learned;
}

}  // namespace savepoint
