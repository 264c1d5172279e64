#pragma once

#include <ATen/core/Tensor.h>

#include <string>
#include <vector>

#include "core/model/config.h"
#include "core/sidecar/run_codec.h"
#include "core/state/json_fields.h"

namespace savepoint {

// What a codec of runs must know of a model to check rows and to make them.
struct StateShape {
    int64_t layers = 0, d_model = 0, kv_heads = 0, head_dim = 0;

    int64_t kv_dim() const { return kv_heads * head_dim; }
};
StateShape shape_of(const ModelConfig& config);
void save_shape(const StateShape& shape, nlohmann::json& settings);  // adds four fields
StateShape load_shape(const Fields& settings);                       // throws FileError

// One tensor of a state, seen as [tokens, layers, width]: d_model wide, or all KV heads of a layer side by side.
enum class Plane { hidden, key, value };
std::string to_string(Plane plane);
std::vector<Plane> planes_of(CodedPart part);  // in the order in which codecs write them
int64_t width_of(const StateShape& shape, Plane plane);

// float32 [tokens, layers, width] of every plane of `part`, contiguous. Throws InputError when one is missing, has
// another shape than the model's, does not go with the run's token ids, or is not finite.
std::vector<at::Tensor> checked_planes(const CodedRun& run, const StateShape& shape, CodedPart part);
// The way back; `last` is set where hidden states are.
StateRows rows_from(const std::vector<at::Tensor>& planes, const StateShape& shape, CodedPart part);

// Fields that all codecs of runs write; the readers throw FileError.
void save_part(CodedPart part, nlohmann::json& settings);
CodedPart load_part(const Fields& settings);
void require_kind(const Fields& settings, const std::string& kind);

}  // namespace savepoint
