#pragma once

#include "core/model/config.h"
#include "core/model/gguf_file.h"

namespace savepoint {

// The configuration in a GGUF header. Throws FileError naming the field: an architecture other than
// llama and gemma3, a missing or impossible size, or a variant (experts, scaled rotary embedding, biases, capped
// logits) whose numbers would silently be wrong. Of Gemma 3 that leaves 270M and 1B: the larger ones scale positions.
ModelConfig read_config(const GgufFile& file);

}  // namespace savepoint
