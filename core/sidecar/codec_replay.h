#pragma once

#include "core/model/transformer.h"
#include "core/sidecar/run_codec.h"

namespace savepoint {

// Nothing is stored beyond the token ids: decoding runs the model over them again. Exact, and bit for bit what a
// prefill_chunked() of the whole path in chunks of `chunk` tokens (0: all at once) gave; it pays by that prefill.
// `before` are the ids of the path's tokens before the run, which the model needs too. The model must outlive the
// codec. Throws InputError when a run does not begin right after `before`.
std::shared_ptr<const RunCodec> make_replay(const Transformer& model, std::vector<TokenId> before,
                                            CodedPart part = CodedPart::kv, int64_t chunk = 0);
// `before` belongs to a path, not to the codec, and is not in the file. Throws FileError.
std::shared_ptr<const RunCodec> load_replay(const TensorFile& file, const nlohmann::json& settings,
                                            const std::string& name, const Transformer& model,
                                            std::vector<TokenId> before);

}  // namespace savepoint
