#include "core/sidecar/long_runs.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>

#include "core/model/error.h"
#include "core/sidecar/coded_run.h"

namespace savepoint {

namespace {

// Mean over tokens of KL(p || q), of two runs' logits.
double divergence(const at::Tensor& exact, const at::Tensor& other) {
    const at::Tensor p = at::log_softmax(exact, -1), q = at::log_softmax(other, -1);
    return (p.exp() * (p - q)).sum(-1).clamp_min(0).mean().item<double>();
}

}  // namespace

int64_t GreedyPair::agreement() const {
    const size_t most = std::min(exact.size(), resumed.size());
    size_t same = 0;
    while (same < most && exact[same] == resumed[same]) ++same;
    return static_cast<int64_t>(same);
}

// Tokens chosen one after another: what was chosen, from which logits, and the state that it left.
struct LongRuns::Run {
    std::vector<TokenId> read;    // the last token of what was before, and all that were chosen but the last
    std::vector<TokenId> chosen;  // after each of those
    at::Tensor logits;            // [tokens, vocab]
    StateRows rows;               // of the tokens read
};

LongRuns::LongRuns(const Transformer& model, std::vector<std::vector<TokenId>> sequences,
                   std::shared_ptr<const RunCodec> codec, LongRunSettings settings)
    : model_(model),
      sequences_(std::move(sequences)),
      codec_(std::move(codec)),
      settings_(settings),
      drift_(static_cast<size_t>(settings.rounds), 0) {
    if (codec_->part() == CodedPart::hidden) throw InputError("long runs: the codec stores no keys and values");
    for (const auto& ids : sequences_)
        if (static_cast<int64_t>(ids.size()) < settings_.prefix)
            throw InputError("long runs: a sequence is shorter than the prefix");
    if (settings_.prefix < settings_.exact_first + 2) throw InputError("long runs: the prefix is too short");
}

void LongRuns::step() {
    if (done()) return;
    const at::NoGradGuard no_grad;
    const std::span<const TokenId> prefix =
        std::span<const TokenId>(sequences_[next_]).first(static_cast<size_t>(settings_.prefix));
    KvCache cache = model_.make_cache(settings_.prefix);
    ForwardOptions kept;
    kept.logits = Logits::none;
    // The last token is read by every run: what it makes of the state before it is what differs.
    const StateRows rows = model_.prefill(cache, prefix.first(prefix.size() - 1), kept).rows;
    if (settings_.greedy_tokens > 0) agree(prefix, rows);
    if (settings_.rounds > 0) drift(prefix, rows);
    ++next_;
}

LongRuns::Run LongRuns::resumed(const StateRows& rows, TokenId last, int64_t count) const {
    KvCache cache = model_.make_cache(rows.tokens() + count);
    model_.restore(cache, rows);
    Run run;
    std::vector<at::Tensor> logits;
    std::vector<StateRows> grown;
    for (int64_t i = 0; i < count; ++i) {
        const ForwardOutput out = model_.decode(cache, last);
        run.read.push_back(last);
        last = static_cast<TokenId>(out.logits.argmax(-1).item<int64_t>());
        run.chosen.push_back(last);
        logits.push_back(out.logits);
        grown.push_back(out.rows);
    }
    run.logits = at::cat(logits);
    run.rows = concat(grown);
    return run;
}

StateRows LongRuns::decoded(const StateRows& rows, std::span<const TokenId> ids) const {
    const int64_t first = settings_.exact_first;
    const CodedRun run = coded_run(model_, rows, ids.first(static_cast<size_t>(rows.tokens())), first);
    const StateRows back = codec_->decode(codec_->encode(run), run.tokens, first);
    StateRows out;
    if (back.has_hidden())
        out.hidden = at::cat({rows.hidden.slice(0, 0, first), back.hidden});
    else
        out.hidden = rows.hidden;  // for codecs that read it and do not store it
    out.key = at::cat({rows.key.slice(0, 0, first), back.key});
    out.value = at::cat({rows.value.slice(0, 0, first), back.value});
    return out;
}

void LongRuns::agree(std::span<const TokenId> prefix, const StateRows& rows) {
    const Run exact = resumed(rows, prefix.back(), settings_.greedy_tokens);
    const Run other = resumed(decoded(rows, prefix), prefix.back(), settings_.greedy_tokens);
    greedy_.push_back({exact.chosen, other.chosen});
}

void LongRuns::drift(std::span<const TokenId> prefix, const StateRows& rows) {
    std::vector<TokenId> ids(prefix.begin(), prefix.end() - 1);
    TokenId last = prefix.back();
    StateRows state = rows;
    KvCache exact = model_.make_cache(settings_.prefix + settings_.rounds * settings_.round_tokens);
    model_.restore(exact, rows);
    ForwardOptions all;
    all.logits = Logits::all;
    all.capture = false;
    for (double& kl : drift_) {
        const Run run = resumed(state = decoded(state, ids), last, settings_.round_tokens);
        kl += divergence(model_.prefill(exact, run.read, all).logits, run.logits);
        ids.insert(ids.end(), run.read.begin(), run.read.end());
        state = concat({state, run.rows});
        last = run.chosen.back();
    }
}

LongRunFigures LongRuns::figures() const {
    LongRunFigures out;
    if (next_ == 0) return out;
    const auto n = static_cast<double>(next_);
    double agreed = 0;
    for (const GreedyPair& pair : greedy_) agreed += static_cast<double>(pair.agreement());
    if (settings_.greedy_tokens > 0) out.greedy_agreement = agreed / n;
    for (const double kl : drift_) out.drift_kl.push_back(kl / n);
    return out;
}

}  // namespace savepoint
