#include "core/sidecar/coded_run.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>

#include "core/model/error.h"
#include "core/sidecar/attention_output.h"

namespace savepoint {

namespace {

// What the path's last queries pay each token, mean over them and over heads: [tokens, layers]. query [n, layers,
// heads, d], not rotated; keys(layer) [tokens, kv_heads, d], rotated.
template <typename Keys>
at::Tensor attention_paid_by_last(const Transformer& model, const at::Tensor& query, int64_t tokens, const Keys& keys) {
    const at::NoGradGuard no_grad;
    const at::Tensor rotated = model.rotate(query, tokens - query.size(0));
    const int64_t layers = model.config().layers;
    at::Tensor paid = at::empty({tokens, layers}, at::kFloat);
    for (int64_t layer = 0; layer < layers; ++layer)
        paid.select(1, layer).copy_(attention_weights(model.config(), layer, rotated.select(1, layer), keys(layer))
                                        .mean(at::IntArrayRef({0, 1})));
    return paid;
}

}  // namespace

CodedRun coded_run(const Transformer& model, const StateRows& rows, std::span<const TokenId> ids, int64_t exact_first) {
    const int64_t tokens = rows.tokens();
    CodedRun run{
        rows.slice(exact_first, tokens - exact_first), ids.subspan(static_cast<size_t>(exact_first)), exact_first, {}};
    if (!rows.has_hidden() || !rows.key.defined() || tokens == 0) return run;
    const int64_t last = std::min(kLookingBack, tokens), from = tokens - last;
    const at::Tensor query = model.queries(rows.slice(from, last), ids.subspan(static_cast<size_t>(from)));
    const at::Tensor key = model.rotate(rows.key, 0);
    run.attention = attention_paid_by_last(model, query, tokens, [&](int64_t layer) {
                        return key.select(1, layer);
                    }).slice(0, exact_first);
    return run;
}

CodedRun coded_run(const Transformer& model, const KvCache& cache, const StateRows& rows, std::span<const TokenId> ids,
                   const at::Tensor& query) {
    const int64_t end = cache.length(), tokens = rows.tokens();
    if (tokens > end || tokens != static_cast<int64_t>(ids.size()) || !query.defined() ||
        query.size(0) < std::min(kLookingBack, end))
        throw InputError("coded run: rows, ids and queries of the newest tokens of the cache's path are needed");
    const int64_t last = std::min(kLookingBack, end);
    CodedRun run{rows, ids, end - tokens};
    run.attention = attention_paid_by_last(model, query.slice(0, query.size(0) - last), end, [&](int64_t layer) {
                        return cache.keys(layer)[0].narrow(1, 0, end).transpose(0, 1).to(at::kCPU);
                    }).slice(0, end - tokens);
    return run;
}

}  // namespace savepoint
