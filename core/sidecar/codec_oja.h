#pragma once

#include "core/sidecar/plane_axes.h"
#include "core/sidecar/stored_values.h"

namespace savepoint {

// A basis that follows the text (OjaKV, arXiv 2509.21623): keys and values of each layer are kept as width / reduction
// coordinates z = B (x - mean); the first and the recent tokens are kept whole, in float16. B starts as the principal
// axes of the fitted text and moves by Oja's rule (Oja 1982) with each token that is kept whole:
//   B <- the orthonormal basis nearest to B + rate / total y (x - B^T y)^T,  y = B x, x less its mean,
// total being the fitted variance of a layer. A row that was decoded from B lies in its span, where x = B^T y and the
// rule stands still: only tokens kept whole can move the decoder's basis as they do the encoder's. Hence one token
// in every `every` is kept whole too. No basis is stored for a run: it follows from what is.
// Bytes: keys, then values; of each the tokens kept whole as rows [token, layer] in float16, then the others' z.
struct OjaSettings {
    std::vector<int64_t> reductions = {4, 8};  // one codec for each, and each format of z
    int64_t first = 4, recent = 8;             // tokens of the run that are kept whole, 0 or more
    int64_t every = 32;                        // and every n-th token of the run; 0: none
    double rate = 0.15;                        // 0: the basis stays as fitted
    std::vector<ValueFormat> formats = {ValueFormat{}};
};

// Throws InputError on settings that cannot be.
std::unique_ptr<RunCodecFit> make_oja_fit(const ModelConfig& config, const OjaSettings& settings);
std::shared_ptr<const RunCodec> load_oja(const TensorFile& file, const nlohmann::json& settings,
                                         const std::string& name);  // throws FileError

}  // namespace savepoint
