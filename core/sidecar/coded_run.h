#pragma once

#include <span>

#include "core/model/transformer.h"
#include "core/sidecar/run_codec.h"

namespace savepoint {

// The run that a codec gets of a whole path: its rows from token `exact_first` on, with the attention that the path's
// last tokens pay them where `rows` have what that takes (hidden states and keys). `ids` must outlive it.
CodedRun coded_run(const Transformer& model, const StateRows& rows, std::span<const TokenId> ids, int64_t exact_first);
// The same of the newest tokens of a path while it is generated, from what is at hand then: `rows` and `ids` are of
// these tokens alone, `cache` holds the path up to the last of them, and `query` is hook_q of its last tokens
// (ForwardOptions::queries), as many as count or all there are.
CodedRun coded_run(const Transformer& model, const KvCache& cache, const StateRows& rows, std::span<const TokenId> ids,
                   const at::Tensor& query);
inline constexpr int64_t kLookingBack = 32;  // of a path's last tokens, whose attention counts

}  // namespace savepoint
