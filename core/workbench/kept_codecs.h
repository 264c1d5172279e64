#pragma once

#include <memory>
#include <string>

#include "core/sidecar/latent_file.h"
#include "core/sidecar/sidecar.h"
#include "core/workbench/codec_shelf.h"

namespace savepoint {

// The codecs of thoughts that are kept as z, FOLDER/kept/DIGEST.safetensors: fitting the sidecar again or comparing
// codecs again must not take away what decodes them. Where the file system links files they take no room of their own.
// A copy of what is needed, so that it can be used on any thread; its calls may read and write hundreds of megabytes.
class KeptCodecs {
   public:
    // fit_folder: where the model's fitted sidecar lies; throws InputError when it is empty. sidecar: the one in use,
    // or null. compared: the codecs that may be kept, by name.
    KeptCodecs(std::shared_ptr<const Weights> weights, std::shared_ptr<const Sidecar> sidecar,
               const std::string& fit_folder, CodecShelf compared = {});

    // The sidecar's codec (name empty) or a compared one's, kept from now on. Throws InputError and FileError.
    LoadedCodec keep(const std::string& name) const;
    // The one that a z was coded by: of the sidecar in use, kept, or compared. Throws FileError saying which file is
    // missing, and where.
    LoadedCodec find(const StoredLatent& z) const;

   private:
    std::string path(const std::string& digest) const;
    LoadedCodec keep_sidecar() const;
    LoadedCodec keep_file(const std::string& file) const;
    LoadedCodec keep_written(const RunCodec& codec) const;

    std::shared_ptr<const Weights> weights_;
    std::shared_ptr<const Sidecar> sidecar_;
    CodecShelf shelf_;
    std::string kept_, stored_;  // folders: its own, and that of all codecs
};

}  // namespace savepoint
