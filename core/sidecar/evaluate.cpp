#include "core/sidecar/evaluate.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>

#include "core/model/error.h"
#include "core/model/sampler.h"

namespace savepoint {

namespace {

// Sums of squares of x - x^ and of x - mean over tokens and the last dimension: [tokens, a, d] -> [a] each.
struct Squares {
    at::Tensor error, spread;
};

at::Tensor summed(const at::Tensor& difference) {
    return difference.square().sum(at::IntArrayRef({0, -1}), /*keepdim=*/false, at::kDouble);
}

Squares squares(const at::Tensor& exact, const at::Tensor& decoded, const at::Tensor& mean) {
    return {summed(exact - decoded), summed(exact - mean)};
}

at::Tensor fraction(const Squares& squares) { return squares.error / squares.spread; }

at::Tensor mean_square(const Squares& squares, const at::Tensor& rows) {
    return squares.error / static_cast<double>(rows.size(0) * rows.size(-1));
}

// [tokens, layers, kv_heads, head_dim] -> mse, fvu [layers, kv_heads]
void measure_heads(const at::Tensor& exact, const at::Tensor& decoded, int64_t first, at::Tensor& mse,
                   at::Tensor& fvu) {
    const at::Tensor rows = exact.slice(0, first);
    const Squares sums = squares(rows, decoded.slice(0, first), rows.mean(0));
    mse = mean_square(sums, rows);
    fvu = fraction(sums);
}

void measure_hidden(ReconstructionError& out, const at::Tensor& exact, const at::Tensor& decoded, int64_t first) {
    const at::Tensor rows = exact.slice(0, first);
    const at::Tensor mean = rows.mean(0);
    const Squares sums = squares(rows, decoded.slice(0, first), mean);
    out.hidden_mse = mean_square(sums, rows);
    out.hidden_fvu = fraction(sums);
    out.hidden_fvu_first = at::full({exact.size(1)}, NAN, at::kDouble);
    if (first > 0) {
        out.hidden_fvu_first = fraction(squares(exact.slice(0, 0, first), decoded.slice(0, 0, first), exact.mean(0)));
    }
    const at::Tensor error = (exact - decoded).square().sum(at::IntArrayRef({1, 2}), /*keepdim=*/false, at::kDouble);
    out.token_fvu = error / (exact - mean).square().sum(at::IntArrayRef({1, 2}), /*keepdim=*/false, at::kDouble);
}

// The exact K/V of the first tokens, the decoded ones of the others.
StateRows resumed_rows(const Sidecar& sidecar, const StateRows& exact, std::span<const TokenId> ids) {
    StateRows kv;
    kv.key = exact.key;
    kv.value = exact.value;
    const at::Tensor hidden = sidecar.joint() ? exact.hidden : at::Tensor();
    const StateRows decoded = sidecar.decode(sidecar.encode({hidden, exact.key, exact.value, {}}, ids));
    const int64_t first = std::min(sidecar.info().exact_first_tokens, exact.tokens());
    kv.key = at::cat({exact.key.slice(0, 0, first), decoded.key.slice(0, first)});
    kv.value = at::cat({exact.value.slice(0, 0, first), decoded.value.slice(0, first)});
    return kv;
}

// Mean of log p(next token) of the rows that have one after them.
double mean_nll(const at::Tensor& logits, std::span<const TokenId> tokens) {
    const auto rows = static_cast<int64_t>(tokens.size()) - 1;
    if (rows < 1) return NAN;
    std::vector<int64_t> next(tokens.begin() + 1, tokens.end());
    const at::Tensor ids = at::tensor(next, at::kLong).unsqueeze(1);
    return -at::log_softmax(logits.slice(0, 0, rows), -1).gather(1, ids).mean(at::kDouble).item<double>();
}

ResumeFidelity compared(const at::Tensor& exact, const at::Tensor& resumed, std::span<const TokenId> tokens) {
    ResumeFidelity out;
    out.tokens = static_cast<int64_t>(tokens.size());
    const at::Tensor kl = kl_divergence(exact, resumed).to(at::kFloat).contiguous();
    out.kl_nats = kl.mean(at::kDouble).item<double>();
    out.kl_p95 = percentile_95({kl.const_data_ptr<float>(), kl.const_data_ptr<float>() + kl.numel()});
    out.top1_agreement = (exact.argmax(-1) == resumed.argmax(-1)).to(at::kDouble).mean().item<double>();
    out.delta_nll = mean_nll(resumed, tokens) - mean_nll(exact, tokens);
    return out;
}

void check_prefix(int64_t prefix, const std::vector<TokenId>& tokens) {
    const auto count = static_cast<int64_t>(tokens.size());
    if (prefix < 1 || prefix >= count) {
        throw InputError("prefix: " + std::to_string(prefix) + "; from 1 to " + std::to_string(count - 1) +
                         ", so that tokens follow to be compared");
    }
}

ForwardOptions all_logits() {
    ForwardOptions options;
    options.logits = Logits::all;
    options.capture = false;
    return options;
}

// Of the tokens after a prefix, on top of its decoded rows; the cache is empty.
at::Tensor resumed_logits(const Transformer& model, const Sidecar& sidecar, KvCache& cache, const StateRows& prefix,
                          std::span<const TokenId> before, std::span<const TokenId> after) {
    model.restore(cache, resumed_rows(sidecar, prefix, before));
    return model.prefill(cache, after, all_logits()).logits;
}

}  // namespace

double percentile_95(std::vector<double> values) {
    if (values.empty()) return NAN;
    const auto at = values.begin() + static_cast<ptrdiff_t>(std::ceil(0.95 * static_cast<double>(values.size()))) - 1;
    std::nth_element(values.begin(), at, values.end());
    return *at;
}

ReconstructionError reconstruction_error(const Sidecar& sidecar, const StateRows& rows, std::span<const TokenId> ids) {
    ReconstructionError out;
    out.tokens = rows.tokens();
    out.first_tokens = std::min(sidecar.info().exact_first_tokens, out.tokens);
    const StateRows decoded = sidecar.decode(sidecar.encode(rows, ids));
    if (rows.hidden.defined()) measure_hidden(out, rows.hidden, decoded.hidden, out.first_tokens);
    if (rows.key.defined() && decoded.key.defined())
        measure_heads(rows.key, decoded.key, out.first_tokens, out.key_mse, out.key_fvu);
    if (rows.value.defined() && decoded.value.defined())
        measure_heads(rows.value, decoded.value, out.first_tokens, out.value_mse, out.value_fvu);
    return out;
}

ResumeFidelity resume_fidelity(const Transformer& model, const Sidecar& sidecar, const std::vector<TokenId>& tokens,
                               int64_t prefix, const std::function<bool(double)>& keep_going) {
    check_prefix(prefix, tokens);
    const auto go_on = [&](double fraction) {
        if (keep_going && !keep_going(fraction)) throw Cancelled();
    };
    const std::span<const TokenId> all(tokens);
    const auto before = all.first(static_cast<size_t>(prefix)), after = all.subspan(static_cast<size_t>(prefix));
    ForwardOptions kept;
    kept.logits = Logits::none;
    KvCache cache = model.make_cache(static_cast<int64_t>(tokens.size()));
    const StateRows rows = model.prefill(cache, before, kept).rows;
    go_on(0.35);
    const at::Tensor exact = model.prefill(cache, after, all_logits()).logits;
    go_on(0.65);
    cache.truncate(0);
    ResumeFidelity out = compared(exact, resumed_logits(model, sidecar, cache, rows, before, after), after);
    out.prefix = prefix;
    go_on(1);
    return out;
}

ResumeFidelity resume_fidelity(const Transformer& model, const Sidecar& sidecar, const std::vector<TokenId>& tokens,
                               int64_t prefix, const StateRows& exact) {
    check_prefix(prefix, tokens);
    if (exact.tokens() != static_cast<int64_t>(tokens.size()) || !exact.hidden.defined() || !exact.has_kv())
        throw InputError("rows: hidden, key and value of every token are needed");
    const std::span<const TokenId> all(tokens);
    const auto before = all.first(static_cast<size_t>(prefix)), after = all.subspan(static_cast<size_t>(prefix));
    KvCache cache = model.make_cache(static_cast<int64_t>(tokens.size()));
    const at::Tensor logits = model.unembed(exact.hidden.slice(0, prefix).select(1, model.config().layers - 1));
    ResumeFidelity out =
        compared(logits, resumed_logits(model, sidecar, cache, exact.slice(0, prefix), before, after), after);
    out.prefix = prefix;
    return out;
}

}  // namespace savepoint
