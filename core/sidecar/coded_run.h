#pragma once

#include <span>

#include "core/model/transformer.h"
#include "core/sidecar/run_codec.h"

namespace savepoint {

// The run that a codec gets of a whole path: its rows from token `exact_first` on, with the attention that the path's
// last tokens pay them where `rows` have what that takes (hidden states and keys). `ids` must outlive it.
CodedRun coded_run(const Transformer& model, const StateRows& rows, std::span<const TokenId> ids, int64_t exact_first);

}  // namespace savepoint
