#include "core/sidecar/coded_run.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <limits>

#include "core/model/error.h"
#include "core/sidecar/attention_output.h"

namespace savepoint {

namespace {

// What the last queries pay each token in a layer, mean over them and over heads: [tokens]. Queries [n, heads, d] and
// keys [kv_heads, tokens, d] after rotary embedding.
at::Tensor attention_paid_by_last(const ModelConfig& config, int64_t layer, const at::Tensor& query,
                                  const at::Tensor& key) {
    const int64_t queries = query.size(0), heads = query.size(1), kv_heads = key.size(0), tokens = key.size(1);
    const at::Tensor q = (query * config.attention_scale())
                             .transpose(0, 1)
                             .reshape({kv_heads, heads / kv_heads * queries, query.size(2)});
    at::Tensor scores = at::bmm(q, key.transpose(1, 2)).view({heads, queries, tokens});
    scores.masked_fill_(unseen_keys(config, layer, queries, tokens), -std::numeric_limits<float>::infinity());
    return at::softmax(scores, -1).mean(at::IntArrayRef({0, 1}));
}

// Of all layers: [tokens, layers]. query [n, layers, heads, d], not rotated; keys(layer) rotated.
template <typename Keys>
at::Tensor attention_paid_by_last(const Transformer& model, const at::Tensor& query, int64_t tokens, const Keys& keys) {
    const at::NoGradGuard no_grad;
    const at::Tensor rotated = model.rotate(query, tokens - query.size(0));
    const int64_t layers = model.config().layers;
    at::Tensor paid = at::empty({tokens, layers}, at::kFloat);
    for (int64_t layer = 0; layer < layers; ++layer)
        paid.select(1, layer).copy_(
            attention_paid_by_last(model.config(), layer, rotated.select(1, layer), keys(layer)));
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
                        return key.select(1, layer).transpose(0, 1);
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
                        return cache.keys(layer)[0].narrow(1, 0, end).to(at::kCPU);
                    }).slice(0, end - tokens);
    return run;
}

}  // namespace savepoint
