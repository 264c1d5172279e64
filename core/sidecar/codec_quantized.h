#pragma once

#include "core/sidecar/run_planes.h"
#include "core/sidecar/stored_values.h"

namespace savepoint {

// What shares a scale: one channel of neighbouring tokens, or neighbouring channels of one token.
enum class GroupAxis { channel, token };

// Training-free quantisation in groups after KIVI (arXiv 2402.02750): keys per channel (their outliers are channels),
// values per token, the recent tokens in float16. As in KVQuant (arXiv 2401.18079) keys are taken before rotary
// embedding. `hadamard` turns each head (each block of 2^n channels of a hidden state) by an orthonormal Hadamard
// matrix first, which spreads outliers over channels (QuaRot, arXiv 2404.00456).
struct QuantizedSettings {
    CodedPart part = CodedPart::kv;
    int key_bits = 4, value_bits = 4, hidden_bits = 4;  // 2..8
    GroupAxis key_axis = GroupAxis::channel, value_axis = GroupAxis::token, hidden_axis = GroupAxis::channel;
    int64_t group = 32;  // values that share a scale; per token it must divide a layer's width
    int64_t window = 0;  // tokens at the end that stay in float16
    bool hadamard = false;
    // A group per channel that is not full at the end of the run stays in float16, as it does while a model runs. With
    // short_group it is closed as it is, with a scale of its own: what a finished prefix in a file would do.
    bool short_group = false;
};

// Throws InputError on settings that cannot be.
// Bytes, one plane after the other (hidden, key, value): the quantised tokens (stored_values.h; per channel as rows
// [group of tokens, layer, channel] of `group` values, then the short group), then the others in float16. No header:
// all sizes follow from the token count.
std::shared_ptr<const RunCodec> make_quantized(const ModelConfig& config, const QuantizedSettings& settings);
std::shared_ptr<const RunCodec> load_quantized(const TensorFile& file, const nlohmann::json& settings,
                                               const std::string& name);  // throws FileError

// Orthonormal Walsh-Hadamard transform of each block of `size` (a power of two) in the last dimension; its own inverse.
at::Tensor hadamard(const at::Tensor& x, int64_t size);

}  // namespace savepoint
