#pragma once

#include <memory>
#include <nlohmann/json.hpp>
#include <string>

#include "core/model/weights.h"
#include "core/sidecar/run_codec.h"

namespace savepoint {

// What a fitted codec must say about itself.
struct CodecInfo {
    std::string model_sha256, data_sha256;  // data: of the token ids it was fitted on; empty when on none
    int64_t fitted_tokens = 0;
    uint64_t seed = 0;
    nlohmann::json settings = nlohmann::json::object();  // of the run that made it
    nlohmann::json figures = nlohmann::json::object();   // held-out, as described(CodecFigures)
    int version = 2;
};

// "transform kv 8x" -> "transform-kv-8x.safetensors"
std::string codec_file_name(std::string name);

// One safetensors file of format "savepoint-codec". Loading throws FileError for a file that is damaged, of another
// format, or of another model than `weights`.
void save_codec(const std::string& path, const RunCodec& codec, const CodecInfo& info);
// Without the codec itself: of a file of hundreds of megabytes only what it says about itself is read, and no digest is
// checked. Throws FileError for another format or version.
CodecInfo read_codec_info(const std::string& path);
struct LoadedCodec {
    std::shared_ptr<const RunCodec> codec;
    CodecInfo info;
    std::string digest;  // of all that the file says (tensor_fields.h)
};
LoadedCodec load_codec(const std::string& path, std::shared_ptr<const Weights> weights);

}  // namespace savepoint
