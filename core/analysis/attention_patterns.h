#pragma once

#include <ATen/core/Tensor.h>

#include "core/analysis/drift_parts.h"
#include "core/model/transformer.h"

namespace savepoint {

// What each head at `position` of a run looks at: softmax(q K^T / sqrt(head_dim)) over the tokens up to it (in local
// blocks those of the sliding window), with rotary embedding, from saved rows: [layers, heads, position + 1]. Throws
// InputError on a position that is not there.
at::Tensor attention_pattern(const Transformer& model, const StateRun& run, int64_t position);

}  // namespace savepoint
