#include "core/sidecar/codec_files.h"

#include <cctype>

#include "core/model/error.h"
#include "core/sidecar/baseline_codecs.h"
#include "core/sidecar/codec_learned.h"
#include "core/sidecar/codec_transform.h"
#include "core/sidecar/tensor_fields.h"
#include "core/state/json_fields.h"

namespace savepoint {

namespace {

constexpr const char* kFormat = "savepoint-codec";
constexpr int kVersion = 2;

std::shared_ptr<const RunCodec> made(const TensorFile& file, const nlohmann::json& settings, const std::string& path,
                                     std::shared_ptr<const Weights> weights) {
    const std::string kind = settings.value("kind", std::string());
    if (kind == "transform") return load_transform(file, settings, path, std::move(weights));
    if (kind == "learned") return load_learned(file, settings, path, std::move(weights));
    if (auto codec = load_baseline(file, settings, path)) return codec;
    throw FileError(path, "is coded as \"" + kind + "\", which this Savepoint does not know");
}

nlohmann::json description_of(const std::map<std::string, std::string>& metadata, const std::string& path) {
    const auto format = metadata.find("format"), described = metadata.find("codec");
    if (format == metadata.end() || format->second != kFormat || described == metadata.end())
        throw FileError(path, "is not a Savepoint codec; fit one, or choose another file");
    return parse_json(described->second, path);
}

CodecInfo info_of(const Fields& fields) {
    CodecInfo info;
    info.version = static_cast<int>(fields.integer("version", kVersion, kVersion));
    info.model_sha256 = fields.text("model_sha256");
    info.data_sha256 = fields.text("data_sha256");
    info.fitted_tokens = fields.integer("fitted_tokens", 0, int64_t{1} << 60);
    info.seed = fields.unsigned_integer("seed");
    info.settings = fields.any("settings");
    info.figures = fields.any("figures");
    return info;
}

}  // namespace

std::string codec_file_name(std::string name) {
    for (char& c : name)
        if (!std::isalnum(static_cast<unsigned char>(c)) && c != '.') c = '-';
    return name + ".safetensors";
}

void save_codec(const std::string& path, const RunCodec& codec, const CodecInfo& info) {
    TensorFile file;
    nlohmann::json settings;
    codec.save(file, settings);
    const nlohmann::json description = {{"version", kVersion},
                                        {"model_sha256", info.model_sha256},
                                        {"data_sha256", info.data_sha256},
                                        {"fitted_tokens", info.fitted_tokens},
                                        {"seed", info.seed},
                                        {"settings", info.settings},
                                        {"figures", info.figures},
                                        {"codec", settings}};
    file.metadata = {{"format", kFormat}, {"codec", description.dump()}};
    file.metadata["digest"] = content_digest(file);
    write_safetensors(path, file);
}

CodecInfo read_codec_info(const std::string& path) {
    const nlohmann::json description = description_of(read_safetensors_metadata(path), path);
    return info_of(Fields(description, path, "codec"));
}

LoadedCodec load_codec(const std::string& path, std::shared_ptr<const Weights> weights) {
    const TensorFile file = read_safetensors(path);
    const nlohmann::json description = description_of(file.metadata, path);
    const Fields fields(description, path, "codec");
    LoadedCodec loaded;
    loaded.info = info_of(fields);
    const CodecInfo& info = loaded.info;
    check_digest(file, path);
    loaded.digest = file.metadata.at("digest");
    if (info.model_sha256 != weights->sha256())
        throw FileError(path, "was fitted on another model (" + info.model_sha256.substr(0, 12) +
                                  "...) than the loaded one (" + weights->sha256().substr(0, 12) + "...)");
    try {
        loaded.codec = made(file, fields.any("codec"), path, std::move(weights));
    } catch (const InputError& error) {
        throw FileError(path, error.what());
    }
    return loaded;
}

}  // namespace savepoint
