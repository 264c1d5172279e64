#include "core/workbench/kept_codecs.h"

#include <filesystem>

#include "core/model/error.h"
#include "core/workbench/stored_codecs.h"

namespace savepoint {
namespace {

namespace fs = std::filesystem;

// The same file under a second name; a copy where that cannot be.
void link_or_copy(const std::string& file, const std::string& to) {
    std::error_code failed;
    fs::create_hard_link(file, to, failed);
    if (!failed || fs::exists(to)) return;
    write_atomically(to, read_file(file));
}

std::string stated_digest(const std::string& file) {
    try {
        const auto metadata = read_safetensors_metadata(file);
        const auto found = metadata.find("digest");
        return found == metadata.end() ? std::string() : found->second;
    } catch (const FileError&) {
        return {};
    }
}

// Of a folder's files the codec that says it has this digest; empty: none.
std::string file_with(const std::string& folder, const std::string& digest) {
    std::error_code none;
    for (const auto& entry : fs::directory_iterator(folder, none))
        if (entry.path().extension() == ".safetensors" && stated_digest(entry.path().string()) == digest)
            return entry.path().string();
    return {};
}

}  // namespace

KeptCodecs::KeptCodecs(std::shared_ptr<const Weights> weights, std::shared_ptr<const Sidecar> sidecar,
                       const std::string& fit_folder, CodecShelf compared)
    : weights_(std::move(weights)), sidecar_(std::move(sidecar)), shelf_(std::move(compared)) {
    if (fit_folder.empty()) throw InputError("there is no data folder in which the codec of a z could be kept");
    kept_ = (fs::path(fit_folder) / "kept").string();
    stored_ = codec_folder(fit_folder);
}

std::string KeptCodecs::path(const std::string& digest) const {
    return (fs::path(kept_) / (digest + ".safetensors")).string();
}

LoadedCodec KeptCodecs::keep(const std::string& name) const {
    fs::create_directories(kept_);
    if (name.empty()) return keep_sidecar();
    const std::string file = shelf_.file(name);
    return file.empty() ? keep_written(*shelf_.find(name)(weights_)) : keep_file(file);
}

LoadedCodec KeptCodecs::keep_sidecar() const {
    if (!sidecar_) throw InputError("no sidecar is fitted for this model yet; fit or load one first");
    LoadedCodec codec = latent_codec(*sidecar_);
    if (!fs::exists(path(codec.digest))) sidecar_->save(path(codec.digest));
    return codec;
}

LoadedCodec KeptCodecs::keep_file(const std::string& file) const {
    LoadedCodec codec = load_latent_codec(file, weights_);
    link_or_copy(file, path(codec.digest));
    return codec;
}

// One that has no file of its own, a few bytes of settings.
LoadedCodec KeptCodecs::keep_written(const RunCodec& codec) const {
    CodecInfo info;
    info.model_sha256 = weights_->sha256();
    const std::string written = (fs::path(kept_) / codec_file_name(codec.name())).string();
    save_codec(written, codec, info);
    LoadedCodec loaded = load_codec(written, weights_);
    fs::rename(written, path(loaded.digest));
    return loaded;
}

LoadedCodec KeptCodecs::find(const StoredLatent& z) const {
    if (sidecar_ && sidecar_->hash() == z.codec_digest) return latent_codec(*sidecar_);
    std::string file = path(z.codec_digest);
    if (!fs::exists(file)) file = file_with(stored_, z.codec_digest);
    if (file.empty())
        throw FileError(path(z.codec_digest),
                        "is missing: the codec \"" + z.codec +
                            "\" that this z was coded by. Load the sidecar that it was made with, "
                            "or put its file there");
    LoadedCodec codec = load_latent_codec(file, weights_);
    if (codec.digest != z.codec_digest) throw FileError(file, "holds another codec than its name says");
    return codec;
}

}  // namespace savepoint
