#pragma once

#include "core/sidecar/run_codec.h"

namespace savepoint {

// The training-free quantisers that a learned codec must beat: KIVI at 8, 6, 5, 4, 3 and 2 bits, and the variants that
// may be better at the same bytes (larger groups, a closed last group, rotation, a recent window).
std::vector<std::shared_ptr<const RunCodec>> quantized_baselines(const ModelConfig& config,
                                                                 CodedPart part = CodedPart::kv);

}  // namespace savepoint
