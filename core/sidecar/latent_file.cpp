#include "core/sidecar/latent_file.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cstring>

#include "core/model/error.h"
#include "core/sidecar/coded_run.h"
#include "core/sidecar/tensor_fields.h"
#include "core/state/files.h"
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

// The path's tokens but the last in a cache with room for `more`; and the rows that make them, where asked for.
KvCache filled_cache(const Transformer& model, const LoadedCodec& codec, const SavedLatent& latent, int64_t more,
                     StateRows* rows) {
    require_keys(codec);
    const StoredLatent& z = latent.z;
    if (latent.model_sha256 != model.weights().sha256()) throw InputError("latent: was saved from another model");
    if (z.codec_digest != codec.digest)
        throw InputError("latent: was coded by another codec, named \"" + z.codec + "\"");
    const std::span<const TokenId> ids = latent.tokens;
    const auto first = static_cast<size_t>(z.exact_first);
    const auto coded = ids.subspan(first, ids.size() - 1 - first);
    const StateRows decoded = codec.codec->decode(z.bytes, coded, z.exact_first);
    KvCache cache = model.make_cache(static_cast<int64_t>(ids.size()) + more);
    ForwardOptions options;
    options.logits = Logits::none;
    options.capture = rows != nullptr;
    const StateRows exact = model.prefill(cache, ids.first(first), options).rows;
    model.restore(cache, {{}, decoded.key, decoded.value, {}});
    if (rows) *rows = concat({exact, {{}, decoded.key, decoded.value, {}}});
    return cache;
}

}  // namespace

LoadedCodec latent_codec(const Sidecar& sidecar) {
    if (!sidecar.joint())
        throw InputError(
            "a path is kept as one z of hidden states, keys and values, and this sidecar has one for each; fit a "
            "sidecar of one z, or choose a codec of keys and values");
    LoadedCodec loaded;
    loaded.codec = sidecar.joint()->of_runs();
    loaded.info.model_sha256 = sidecar.info().model_sha256;
    loaded.info.data_sha256 = sidecar.info().data_sha256;
    loaded.digest = sidecar.hash();
    return loaded;
}

LoadedCodec load_latent_codec(const std::string& path, std::shared_ptr<const Weights> weights) {
    if (!is_sidecar_file(path)) return load_codec(path, std::move(weights));
    const auto sidecar = Sidecar::load(path, std::move(weights));
    try {
        return latent_codec(*sidecar);
    } catch (const InputError& problem) {
        throw FileError(path, problem.what());
    }
}

SavedLatent save_latent(const Transformer& model, const LoadedCodec& codec, const StateRows& rows,
                        std::span<const TokenId> ids, int64_t exact_first) {
    require_keys(codec);
    const auto length = static_cast<int64_t>(ids.size());
    if (length < exact_first + 2)
        throw InputError("latent: a path of " + std::to_string(length) + " tokens; it takes " +
                         std::to_string(exact_first + 2) + " for one to be coded");
    const CodedRun run = coded_run(model, rows.slice(0, length - 1), ids.first(ids.size() - 1), exact_first);
    return {{ids.begin(), ids.end()},
            {codec.codec->encode(run), codec.codec->name(), codec.digest, exact_first},
            model.weights().sha256()};
}

ResumedPath resumed_path(const Transformer& model, const LoadedCodec& codec, const SavedLatent& latent) {
    StateRows before;
    KvCache cache = filled_cache(model, codec, latent, 1, &before);
    const ForwardOutput last = model.decode(cache, latent.tokens.back());
    const StateRows rows = concat({before, {{}, last.rows.key, last.rows.value, {}}});
    return {rows, last.logits[0]};
}

std::vector<RowEdit> decoded_edits(const StateRows& rows, int64_t exact_first) {
    std::vector<RowEdit> edits;
    const int64_t blocks = rows.key.size(1);
    for (int64_t token = exact_first; token + 1 < rows.tokens(); ++token) {
        RowEdit edit;
        edit.position = token;
        const std::vector<at::Tensor> key = rows.key[token].unbind(0), value = rows.value[token].unbind(0);
        for (int64_t block = 0; block < blocks; ++block)
            edit.kv.push_back({block, key[static_cast<size_t>(block)], value[static_cast<size_t>(block)]});
        edits.push_back(std::move(edit));
    }
    return edits;
}

KvCache resume_latent(const Transformer& model, const LoadedCodec& codec, const SavedLatent& latent, int64_t more) {
    return filled_cache(model, codec, latent, more, nullptr);
}

std::string latent_bytes(const SavedLatent& latent) {
    TensorFile file;
    at::Tensor tokens = at::empty({static_cast<int64_t>(latent.tokens.size())}, at::kInt);
    std::copy(latent.tokens.begin(), latent.tokens.end(), tokens.data_ptr<int32_t>());
    at::Tensor z = at::empty({static_cast<int64_t>(latent.z.bytes.size())}, at::kByte);
    std::memcpy(z.data_ptr<uint8_t>(), latent.z.bytes.data(), latent.z.bytes.size());
    file.tensors = {{"tokens", tokens}, {"z", z}};
    const nlohmann::json description = {{"version", kVersion},
                                        {"exact_first", latent.z.exact_first},
                                        {"codec", latent.z.codec},
                                        {"codec_digest", latent.z.codec_digest},
                                        {"model_sha256", latent.model_sha256}};
    file.metadata = {{"format", kFormat}, {"latent", description.dump()}};
    file.metadata["digest"] = content_digest(file);
    return to_safetensors(file);
}

void write_latent(const std::string& path, const SavedLatent& latent) { write_atomically(path, latent_bytes(latent)); }

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
    latent.z.exact_first = fields.integer("exact_first", 1, std::max<int64_t>(1, ids.numel() - 2));
    if (ids.numel() < latent.z.exact_first + 2) throw FileError(path, "has too few tokens");
    latent.z.bytes.assign(reinterpret_cast<const char*>(bytes.const_data_ptr<uint8_t>()),
                          static_cast<size_t>(bytes.numel()));
    latent.z.codec = fields.text("codec");
    latent.z.codec_digest = fields.sha256("codec_digest");
    latent.model_sha256 = fields.sha256("model_sha256");
    return latent;
}

}  // namespace savepoint
