#pragma once

#include "core/sidecar/plane_axes.h"
#include "core/sidecar/stored_values.h"

namespace savepoint {

// Principal components of each layer's hidden states, keys and values, each by itself, cut after the leading ones: what
// a narrow bottleneck in float16 buys. z = basis (x - mean), x^ = basis^T z + mean, per layer.
// Bytes, one plane after the other: z as rows [token, layer] of its components (stored_values.h).
struct PcaRunSettings {
    CodedPart part = CodedPart::kv;
    std::vector<int64_t> reductions = {2, 4, 8};  // one codec for each and each format: width / reduction components
    std::vector<ValueFormat> formats = {ValueFormat{}};
};

// Throws InputError on settings that cannot be. Fits one decomposition for all rates; holds the covariances.
std::unique_ptr<RunCodecFit> make_pca_fit(const ModelConfig& config, const PcaRunSettings& settings);
std::shared_ptr<const RunCodec> load_pca(const TensorFile& file, const nlohmann::json& settings,
                                         const std::string& name);  // throws FileError

}  // namespace savepoint
