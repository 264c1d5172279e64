#pragma once

#include "core/sidecar/plane_axes.h"
#include "core/sidecar/stored_values.h"

namespace savepoint {

// Residuals to similar earlier tokens, after DeltaKV (arXiv 2602.08005). A layer's keys and values of a token are one
// row x; its reference r is the mean of the `references` most similar rows among the last `history` decoded tokens and
// the fitted mean (fewer at the start of a run: then the fitted mean again). Similar: near in `projection` principal
// axes of rows whose keys and values are scaled to unit deviation each (the paper trains a projection; this one is
// fitted). x^ = r + quantised(x - r). References are decoded rows, so errors do not add up; which they are is stored.
// Bytes: for each token, layer and reference how many tokens it lies back (0: the fitted mean), in one byte, or in two
// when history is above 255; then the residuals as rows [token, layer] of keys, then values (stored_values.h).
struct DeltaSettings {
    std::vector<ValueFormat> formats = {{4, 32}, {2, 32}};  // one codec each
    int64_t references = 4;
    int64_t history = 255;  // tokens, 1 to 65535
    int64_t projection = 32;
};

// Throws InputError on settings that cannot be.
std::unique_ptr<RunCodecFit> make_delta_fit(const ModelConfig& config, const DeltaSettings& settings);
std::shared_ptr<const RunCodec> load_delta(const TensorFile& file, const nlohmann::json& settings,
                                           const std::string& name);  // throws FileError

}  // namespace savepoint
