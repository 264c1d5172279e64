#pragma once

#include "core/model/weights.h"
#include "core/sidecar/run_codec.h"

namespace savepoint {

// The codecs that a learned one must beat, each at two rates or more; every list for `part`, empty where a kind does
// not code it (only "quantized" and "pca" code hidden states). Replay is apart: it belongs to a path (codec_replay.h).

// KIVI at 8, 6, 5, 4, 3 and 2 bits, and the variants that may be better at the same bytes: a closed last group, larger
// groups, rotation, a recent window.
std::vector<std::shared_ptr<const RunCodec>> quantized_baselines(const ModelConfig& config,
                                                                 CodedPart part = CodedPart::kv);
// From the weights alone: "lowrank".
std::vector<std::shared_ptr<const RunCodec>> weight_baselines(const Weights& weights, CodedPart part = CodedPart::kv);
// From text: "pca", and for K/V "downsampled", "oja" and "delta".
std::unique_ptr<RunCodecFit> make_baseline_fit(const ModelConfig& config, CodedPart part = CodedPart::kv);
// quantized_baselines, weight_baselines and what `fit` gives, in this order.
std::vector<std::shared_ptr<const RunCodec>> all_baselines(const Weights& weights, RunCodecFit& fit,
                                                           CodedPart part = CodedPart::kv);

// Any of these by settings["kind"]; null when it is none of them. Throws FileError.
std::shared_ptr<const RunCodec> load_baseline(const TensorFile& file, const nlohmann::json& settings,
                                              const std::string& name);

}  // namespace savepoint
