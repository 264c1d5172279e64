#pragma once

#include <span>
#include <string>
#include <vector>

#include "core/model/transformer.h"
#include "core/sidecar/codec_files.h"

namespace savepoint {

// A path saved as its latent: token ids, and the bytes that a codec made of the states behind its first `exact_first`
// tokens and before its last one. The codec's own matrices lie in its file, once for all latents; digest says which.
struct SavedLatent {
    std::vector<TokenId> tokens;
    int64_t exact_first = 4;
    std::string bytes;
    std::string codec, codec_digest, model_sha256;  // codec: its name
};

// rows: of all of the path's tokens, exact. Throws InputError when the path has no token to code, and for codecs that
// store no keys and values: nothing resumes from those.
SavedLatent save_latent(const Transformer& model, const LoadedCodec& codec, const StateRows& rows,
                        std::span<const TokenId> ids, int64_t exact_first);

// A cache with every token but the last, room for `more` beside it: the first tokens' rows by running the model on
// them, the others' from the bytes. Decoding the last token gives what comes next. Throws InputError when the latent is
// of another model or codec, or its bytes are of other tokens.
KvCache resume_latent(const Transformer& model, const LoadedCodec& codec, const SavedLatent& latent, int64_t more);

// One safetensors file of format "savepoint-latent": "tokens" int32, "z" uint8. Reading throws FileError for one that
// is damaged or of another format.
void write_latent(const std::string& path, const SavedLatent& latent);
SavedLatent read_latent(const std::string& path);

}  // namespace savepoint
