#include "core/sidecar/coded_run.h"

#include <ATen/ATen.h>

#include <algorithm>

#include "core/sidecar/attention_output.h"

namespace savepoint {

namespace {

constexpr int64_t kLookingBack = 32;  // tokens whose attention counts

}  // namespace

CodedRun coded_run(const Transformer& model, const StateRows& rows, std::span<const TokenId> ids, int64_t exact_first) {
    const int64_t tokens = rows.tokens();
    CodedRun run{
        rows.slice(exact_first, tokens - exact_first), ids.subspan(static_cast<size_t>(exact_first)), exact_first, {}};
    if (!rows.has_hidden() || !rows.key.defined() || tokens == 0) return run;
    const int64_t last = std::min(kLookingBack, tokens), from = tokens - last;
    const at::Tensor query =
        model.rotate(model.queries(rows.slice(from, last), ids.subspan(static_cast<size_t>(from))), from);
    run.attention = attention_weights(model.config(), query, model.rotate(rows.key, 0))
                        .mean(at::IntArrayRef({1, 2}))
                        .t()
                        .slice(0, exact_first)
                        .contiguous();
    return run;
}

}  // namespace savepoint
