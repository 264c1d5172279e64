#include <filesystem>

#include "core/analysis/choice_fit.h"
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
fs::path choice_path(const std::string& folder, const std::string& choice) {
    return fs::path(folder) / ("anomaly-" + choice + ".safetensors");
}

std::string entry(const TensorFile& file, const char* key) {
    const auto found = file.metadata.find(key);
    return found == file.metadata.end() ? std::string() : found->second;
}

void require_model(const std::string& path, const std::string& fitted, const std::string& model) {
    if (fitted == model) return;
    throw FileError(path, "was fitted on model " + fitted.substr(0, 16) + ", this one is " + model.substr(0, 16) +
                              "; fit a sidecar for this model");
}

void make_folder(const std::string& folder) {
    std::error_code problem;
    fs::create_directories(folder, problem);
    if (problem) throw FileError(folder, "cannot be made: " + problem.message() + "; choose another folder");
}

void write_reference(const std::string& path, TensorFile& file, const std::string& model_sha256,
                     const std::string& sidecar_hash) {
    file.metadata["format"] = kFormat;
    file.metadata["model_sha256"] = model_sha256;
    file.metadata["sidecar_hash"] = sidecar_hash;
    file.metadata["digest"] = content_digest(file);
    write_safetensors(path, file);
}

TensorFile read_reference(const std::string& path, const std::string& model_sha256) {
    TensorFile file = read_safetensors(path);
    if (entry(file, "format") != kFormat) throw FileError(path, "is not a Savepoint reference; fit it again");
    check_digest(file, path);
    require_model(path, entry(file, "model_sha256"), model_sha256);
    return file;
}

}  // namespace

void save_fit(const std::string& folder, const ReferenceFit::Result& fit) {
    if (!fit.sidecar || !fit.identity || !fit.elu1) throw InputError("fit: there is nothing to save");
    make_folder(folder);
    TensorFile file;
    fit.identity->save(file, "identity.");
    fit.elu1->save(file, "elu1.");
    write_reference(reference_path(folder).string(), file, fit.sidecar->info().model_sha256, fit.sidecar->hash());
    fit.sidecar->save(sidecar_path(folder).string());
}

ReferenceFit::Result load_fit(const std::string& folder, const std::shared_ptr<const Weights>& weights) {
    const std::string sidecar_file = sidecar_path(folder).string(), path = reference_path(folder).string();
    if (!fs::exists(sidecar_file) || !fs::exists(path)) return {};
    ReferenceFit::Result fit;
    const std::string& model = weights->sha256();
    fit.sidecar = Sidecar::load(sidecar_file, weights);
    require_model(sidecar_file, fit.sidecar->info().model_sha256, model);
    const TensorFile file = read_reference(path, model);
    if (entry(file, "sidecar_hash") != fit.sidecar->hash()) {
        throw FileError(path, "belongs to another sidecar than the one beside it; fit the sidecar again");
    }
    fit.identity = AnomalyReference::load(file, "identity.", path);
    fit.elu1 = AnomalyReference::load(file, "elu1.", path);
    return fit;
}

std::shared_ptr<const AnomalyReference> reference_of(const ReferenceFit::Result& fit, const AnomalyChoice& choice) {
    for (const auto& reference : {fit.elu1, fit.identity})
        if (reference && reference->choice() == choice) return reference;
    return nullptr;
}

void save_reference(const std::string& folder, const AnomalyReference& reference, const std::string& model_sha256,
                    const std::string& sidecar_hash) {
    make_folder(folder);
    TensorFile file;
    reference.save(file, "anomaly.");
    write_reference(choice_path(folder, reference.name()).string(), file, model_sha256, sidecar_hash);
}

std::shared_ptr<const AnomalyReference> load_reference(const std::string& folder, const AnomalyChoice& choice,
                                                       const std::string& model_sha256,
                                                       const std::string& sidecar_hash) {
    const std::string path = choice_path(folder, to_string(choice)).string();
    if (folder.empty() || !fs::exists(path)) return nullptr;
    const TensorFile file = read_reference(path, model_sha256);
    if (entry(file, "sidecar_hash") != sidecar_hash) return nullptr;
    const auto reference = AnomalyReference::load(file, "anomaly.", path);
    if (reference->choice() != choice) throw FileError(path, "holds another choice than its name says; fit it again");
    return reference;
}

}  // namespace savepoint
