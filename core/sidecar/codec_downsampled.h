#pragma once

#include "core/sidecar/run_planes.h"
#include "core/sidecar/stored_values.h"

namespace savepoint {

// Fewer dimensions per head, after KV-Latent (arXiv 2507.11273), without its fine-tuning: of each KV head of each layer
// head_dim / reduction dimensions are kept and the others replaced by their mean. Rotary embedding turns dimensions
// i and i + head_dim / 2 of a key (Hugging Face's rotate_half) together, at a frequency of their own: of keys
// whole pairs are kept, those whose frequency band has the largest variance; of values single dimensions are.
// Bytes: keys, then values; what is kept, less its mean, as rows [token, layer] of all heads (stored_values.h).
struct DownsampledSettings {
    std::vector<int64_t> reductions = {2, 4};  // one codec for each, and each format
    std::vector<ValueFormat> formats = {ValueFormat{}};
};

// Throws InputError on settings that cannot be. Holds two numbers for each dimension.
std::unique_ptr<RunCodecFit> make_downsampled_fit(const ModelConfig& config, const DownsampledSettings& settings);
std::shared_ptr<const RunCodec> load_downsampled(const TensorFile& file, const nlohmann::json& settings,
                                                 const std::string& name);  // throws FileError

}  // namespace savepoint
