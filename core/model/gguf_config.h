#pragma once

#include "core/model/config.h"
#include "core/model/gguf_file.h"

namespace savepoint {

// The configuration in a GGUF header. Throws FileError naming the field: an architecture other than
// llama, a missing or impossible size, or a variant (experts, scaled rotary embedding, biases) whose
// numbers would silently be wrong.
ModelConfig read_config(const GgufFile& file);

}  // namespace savepoint
