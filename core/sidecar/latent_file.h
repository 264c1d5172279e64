#pragma once

#include <span>
#include <string>
#include <vector>

#include "core/model/transformer.h"
#include "core/sidecar/codec_files.h"
#include "core/sidecar/sidecar.h"
#include "core/state/thought_graph.h"

namespace savepoint {

inline constexpr int64_t kExactFirstTokens = 4;  // of a path that is coded, where nothing else is asked for

// A path saved as its latent: token ids, and z of the states behind its first tokens and before its last one. The
// codec's own matrices lie in its file, once for all latents; z's digest says which.
struct SavedLatent {
    std::vector<TokenId> tokens;
    StoredLatent z;
    std::string model_sha256;
};

// What codes a path: a codec of keys and values or of the full state. Of a sidecar it is its joint codec, under the
// sidecar's hash; throws InputError for a sidecar of separate parts.
LoadedCodec latent_codec(const Sidecar& sidecar);
// From a codec's file, or a sidecar's. Throws FileError.
LoadedCodec load_latent_codec(const std::string& path, std::shared_ptr<const Weights> weights);

// rows: of all of the path's tokens, exact. Throws InputError when the path has no token to code, and for codecs that
// store no keys and values: nothing resumes from those.
SavedLatent save_latent(const Transformer& model, const LoadedCodec& codec, const StateRows& rows,
                        std::span<const TokenId> ids, int64_t exact_first);

// The state that a latent resumes to: keys and values of the whole path, those of the first tokens and of the last one
// by running the model on them, all others decoded; and the logits [vocab] of what comes next. The same bits each
// time, on the same machine. Throws InputError when the latent is of another model or codec, or z of other tokens.
struct ResumedPath {
    StateRows rows;
    at::Tensor logits;
};
ResumedPath resumed_path(const Transformer& model, const LoadedCodec& codec, const SavedLatent& latent);
// The keys and values of z in `rows`, as what an intervention puts in the place of what the model would compute: a
// decoded thought's edits (thought_graph.h). Views of the rows.
std::vector<RowEdit> decoded_edits(const StateRows& rows, int64_t exact_first);

// A cache with every token but the last, room for `more` beside it. Decoding the last token gives what comes next.
// Throws as resumed_path.
KvCache resume_latent(const Transformer& model, const LoadedCodec& codec, const SavedLatent& latent, int64_t more);

// One safetensors file of format "savepoint-latent": "tokens" int32, "z" uint8. Reading throws FileError for one that
// is damaged or of another format.
std::string latent_bytes(const SavedLatent& latent);  // of the file
void write_latent(const std::string& path, const SavedLatent& latent);
SavedLatent read_latent(const std::string& path);

}  // namespace savepoint
