#include "core/sidecar/latent_file.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cstring>

#include "core/model/error.h"
#include "core/sidecar/coded_run.h"
#include "core/sidecar/tensor_fields.h"
#include "core/state/json_fields.h"

namespace savepoint {

namespace {

constexpr const char* kFormat = "savepoint-latent";
constexpr int64_t kVersion = 1;

void require_keys(const LoadedCodec& codec) {
    if (codec.codec->part() == CodedPart::hidden)
        throw InputError("latent: " + codec.codec->name() +
                         " stores no keys and values, so that nothing resumes from it");
}

}  // namespace

SavedLatent save_latent(const Transformer& model, const LoadedCodec& codec, const StateRows& rows,
                        std::span<const TokenId> ids, int64_t exact_first) {
    require_keys(codec);
    const auto length = static_cast<int64_t>(ids.size());
    if (length < exact_first + 2)
        throw InputError("latent: a path of " + std::to_string(length) + " tokens; it takes " +
                         std::to_string(exact_first + 2) + " for one to be coded");
    const CodedRun run = coded_run(model, rows.slice(0, length - 1), ids.first(ids.size() - 1), exact_first);
    return {{ids.begin(), ids.end()}, exact_first,  codec.codec->encode(run),
            codec.codec->name(),      codec.digest, model.weights().sha256()};
}

KvCache resume_latent(const Transformer& model, const LoadedCodec& codec, const SavedLatent& latent, int64_t more) {
    require_keys(codec);
    if (latent.model_sha256 != model.weights().sha256()) throw InputError("latent: was saved from another model");
    if (latent.codec_digest != codec.digest)
        throw InputError("latent: was coded by another codec, named \"" + latent.codec + "\"");
    const std::span<const TokenId> ids = latent.tokens;
    const auto first = static_cast<size_t>(latent.exact_first);
    const auto coded = ids.subspan(first, ids.size() - 1 - first);
    const StateRows decoded = codec.codec->decode(latent.bytes, coded, latent.exact_first);
    KvCache cache = model.make_cache(static_cast<int64_t>(ids.size()) + more);
    ForwardOptions kept;
    kept.logits = Logits::none;
    kept.capture = false;
    model.prefill(cache, ids.first(first), kept);
    model.restore(cache, {{}, decoded.key, decoded.value, {}});
    return cache;
}

void write_latent(const std::string& path, const SavedLatent& latent) {
    TensorFile file;
    at::Tensor tokens = at::empty({static_cast<int64_t>(latent.tokens.size())}, at::kInt);
    std::copy(latent.tokens.begin(), latent.tokens.end(), tokens.data_ptr<int32_t>());
    at::Tensor z = at::empty({static_cast<int64_t>(latent.bytes.size())}, at::kByte);
    std::memcpy(z.data_ptr<uint8_t>(), latent.bytes.data(), latent.bytes.size());
    file.tensors = {{"tokens", tokens}, {"z", z}};
    const nlohmann::json description = {{"version", kVersion},
                                        {"exact_first", latent.exact_first},
                                        {"codec", latent.codec},
                                        {"codec_digest", latent.codec_digest},
                                        {"model_sha256", latent.model_sha256}};
    file.metadata = {{"format", kFormat}, {"latent", description.dump()}};
    file.metadata["digest"] = content_digest(file);
    write_safetensors(path, file);
}

SavedLatent read_latent(const std::string& path) {
    const TensorFile file = read_safetensors(path);
    const auto format = file.metadata.find("format"), described = file.metadata.find("latent");
    const auto tokens = file.tensors.find("tokens"), z = file.tensors.find("z");
    if (format == file.metadata.end() || format->second != kFormat || described == file.metadata.end() ||
        tokens == file.tensors.end() || z == file.tensors.end())
        throw FileError(path, "is not a latent; `savepoint latent save` writes one");
    check_digest(file, path);
    const nlohmann::json description = parse_json(described->second, path);
    const Fields fields(description, path, "latent");
    fields.integer("version", kVersion, kVersion);
    if (tokens->second.scalar_type() != at::kInt || tokens->second.dim() != 1 || z->second.dim() != 1 ||
        z->second.scalar_type() != at::kByte)
        throw FileError(path, "has tensors of another type");
    SavedLatent latent;
    const at::Tensor ids = tokens->second.contiguous(), bytes = z->second.contiguous();
    latent.tokens.assign(ids.const_data_ptr<int32_t>(), ids.const_data_ptr<int32_t>() + ids.numel());
    latent.exact_first = fields.integer("exact_first", 1, std::max<int64_t>(1, ids.numel() - 2));
    if (ids.numel() < latent.exact_first + 2) throw FileError(path, "has too few tokens");
    latent.bytes.assign(reinterpret_cast<const char*>(bytes.const_data_ptr<uint8_t>()),
                        static_cast<size_t>(bytes.numel()));
    latent.codec = fields.text("codec");
    latent.codec_digest = fields.sha256("codec_digest");
    latent.model_sha256 = fields.sha256("model_sha256");
    return latent;
}

}  // namespace savepoint
