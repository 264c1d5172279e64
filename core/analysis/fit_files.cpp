#include <filesystem>

#include "core/analysis/reference_fit.h"
#include "core/model/error.h"
#include "core/sidecar/tensor_fields.h"
#include "core/state/safetensors.h"

namespace savepoint {

namespace fs = std::filesystem;

namespace {

constexpr const char* kFormat = "savepoint-reference";

fs::path sidecar_path(const std::string& folder) { return fs::path(folder) / "sidecar.safetensors"; }
fs::path reference_path(const std::string& folder) { return fs::path(folder) / "reference.safetensors"; }

std::string entry(const TensorFile& file, const char* key) {
    const auto found = file.metadata.find(key);
    return found == file.metadata.end() ? std::string() : found->second;
}

void require_model(const std::string& path, const std::string& fitted, const std::string& model) {
    if (fitted == model) return;
    throw FileError(path, "was fitted on model " + fitted.substr(0, 16) + ", this one is " + model.substr(0, 16) +
                              "; fit a sidecar for this model");
}

}  // namespace

void save_fit(const std::string& folder, const ReferenceFit::Result& fit) {
    if (!fit.sidecar || !fit.identity || !fit.elu1) throw InputError("fit: there is nothing to save");
    std::error_code problem;
    fs::create_directories(folder, problem);
    if (problem) throw FileError(folder, "cannot be made: " + problem.message() + "; choose another folder");
    TensorFile file;
    fit.identity->save(file, "identity.");
    fit.elu1->save(file, "elu1.");
    file.metadata["format"] = kFormat;
    file.metadata["model_sha256"] = fit.sidecar->info().model_sha256;
    file.metadata["sidecar_hash"] = fit.sidecar->hash();
    file.metadata["digest"] = content_digest(file);
    write_safetensors(reference_path(folder).string(), file);
    fit.sidecar->save(sidecar_path(folder).string());
}

ReferenceFit::Result load_fit(const std::string& folder, const std::string& model_sha256) {
    const std::string sidecar_file = sidecar_path(folder).string(), path = reference_path(folder).string();
    if (!fs::exists(sidecar_file) || !fs::exists(path)) return {};
    ReferenceFit::Result fit;
    fit.sidecar = Sidecar::load(sidecar_file);
    require_model(sidecar_file, fit.sidecar->info().model_sha256, model_sha256);
    const TensorFile file = read_safetensors(path);
    if (entry(file, "format") != kFormat) throw FileError(path, "is not a Savepoint reference; fit the sidecar again");
    check_digest(file, path);
    require_model(path, entry(file, "model_sha256"), model_sha256);
    if (entry(file, "sidecar_hash") != fit.sidecar->hash()) {
        throw FileError(path, "belongs to another sidecar than the one beside it; fit the sidecar again");
    }
    fit.identity = AnomalyReference::load(file, "identity.", path);
    fit.elu1 = AnomalyReference::load(file, "elu1.", path);
    return fit;
}

}  // namespace savepoint
