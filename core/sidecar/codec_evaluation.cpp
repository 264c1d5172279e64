#include "core/sidecar/codec_evaluation.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <chrono>
#include <cmath>

#include "core/model/error.h"
#include "core/sidecar/attention_output.h"
#include "core/sidecar/coded_run.h"
#include "core/state/json_fields.h"

namespace savepoint {

namespace {

constexpr int64_t kAttentionQueries = 32;

double seconds_since(std::chrono::steady_clock::time_point start) {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

void add(at::Tensor& sum, const at::Tensor& x) { sum = sum.defined() ? sum + x : x; }

// Over tokens and the last dimensions: [tokens, layers, ...] -> [layers]
at::Tensor by_layer(const at::Tensor& squares) {
    return squares.flatten(2).sum(at::IntArrayRef({0, 2}), false, at::kDouble);
}

// Over tokens and the last dimension: [tokens, layers, heads, d] -> [layers, heads]
at::Tensor by_head(const at::Tensor& squares) { return squares.sum(at::IntArrayRef({0, 3}), false, at::kDouble); }

std::vector<double> numbers(const at::Tensor& t) {
    const at::Tensor flat = t.to(at::kDouble).flatten().contiguous();
    return {flat.const_data_ptr<double>(), flat.const_data_ptr<double>() + flat.numel()};
}

double mean_of(const std::vector<double>& values) {
    double sum = 0;
    for (const double value : values) sum += value;
    return values.empty() ? NAN : sum / static_cast<double>(values.size());
}

}  // namespace

nlohmann::json described(const CodecFigures& f) {
    return {{"name", f.name},
            {"kind", f.kind},
            {"part", to_string(f.part)},
            {"tokens", f.tokens},
            {"bytes_per_token", f.bytes_per_token},
            {"ratio_fp16", number_or_null(f.ratio_fp16)},
            {"sidecar_bytes", f.sidecar_bytes},
            {"kl_nats", number_or_null(f.kl_nats)},
            {"kl_p95", number_or_null(f.kl_p95)},
            {"top1_agreement", number_or_null(f.top1_agreement)},
            {"delta_nll", number_or_null(f.delta_nll)},
            {"hidden_fvu", number_or_null(f.hidden_fvu)},
            {"hidden_fvu_standardised", number_or_null(f.hidden_fvu_standardised)},
            {"hidden_cosine", number_or_null(f.hidden_cosine)},
            {"k_fvu", number_or_null(f.k_fvu)},
            {"v_fvu", number_or_null(f.v_fvu)},
            {"mid_layer_mse", number_or_null(f.mid_layer_mse)},
            {"hidden_fvu_layers", f.hidden_fvu_layers},
            {"k_fvu_layers", f.k_fvu_layers},
            {"v_fvu_layers", f.v_fvu_layers},
            {"hidden_mse_layers", f.hidden_mse_layers},
            {"k_mse_heads", f.k_mse_heads},
            {"v_mse_heads", f.v_mse_heads},
            {"attention_error", number_or_null(f.attention_error)},
            {"attention_error_layers", f.attention_error_layers},
            {"greedy_agreement_tokens", number_or_null(f.long_runs.greedy_agreement)},
            {"drift_kl_rounds", f.long_runs.drift_kl},
            {"encode_tokens_per_s", number_or_null(f.encode_tokens_per_s)},
            {"restore_tokens_per_s", number_or_null(f.restore_tokens_per_s)}};
}

CodecFigures codec_figures_from(const nlohmann::json& described, const std::string& file) {
    const Fields fields(described, file, "figures");
    const auto list = [&](const std::string& key) {
        std::vector<double> values;
        for (const nlohmann::json& value : fields.array(key)) values.push_back(number_or_nan(value));
        return values;
    };
    CodecFigures f;
    f.name = fields.text("name");
    f.kind = fields.text("kind");
    try {
        f.part = coded_part_from(fields.text("part"));
    } catch (const InputError& error) {
        fields.refuse("part", error.what());
    }
    f.tokens = fields.integer("tokens", 0, int64_t{1} << 60);
    f.sidecar_bytes = fields.integer("sidecar_bytes", 0, int64_t{1} << 60);
    for (const auto& [key, to] : std::initializer_list<std::pair<const char*, double*>>{
             {"bytes_per_token", &f.bytes_per_token},
             {"ratio_fp16", &f.ratio_fp16},
             {"kl_nats", &f.kl_nats},
             {"kl_p95", &f.kl_p95},
             {"top1_agreement", &f.top1_agreement},
             {"delta_nll", &f.delta_nll},
             {"hidden_fvu", &f.hidden_fvu},
             {"hidden_fvu_standardised", &f.hidden_fvu_standardised},
             {"hidden_cosine", &f.hidden_cosine},
             {"k_fvu", &f.k_fvu},
             {"v_fvu", &f.v_fvu},
             {"mid_layer_mse", &f.mid_layer_mse},
             {"attention_error", &f.attention_error},
             {"greedy_agreement_tokens", &f.long_runs.greedy_agreement},
             {"encode_tokens_per_s", &f.encode_tokens_per_s},
             {"restore_tokens_per_s", &f.restore_tokens_per_s}})
        *to = fields.number(key);
    for (const auto& [key, to] : std::initializer_list<std::pair<const char*, std::vector<double>*>>{
             {"hidden_fvu_layers", &f.hidden_fvu_layers},
             {"k_fvu_layers", &f.k_fvu_layers},
             {"v_fvu_layers", &f.v_fvu_layers},
             {"hidden_mse_layers", &f.hidden_mse_layers},
             {"k_mse_heads", &f.k_mse_heads},
             {"v_mse_heads", &f.v_mse_heads},
             {"attention_error_layers", &f.attention_error_layers},
             {"drift_kl_rounds", &f.long_runs.drift_kl}})
        *to = list(key);
    return f;
}

CodecEvaluation::CodecEvaluation(const Transformer& model, std::vector<std::vector<TokenId>> sequences,
                                 Settings settings)
    : model_(model), sequences_(std::move(sequences)), settings_(settings) {
    if (sequences_.empty()) throw InputError("evaluation: there are no sequences");
    if (settings_.prefix <= settings_.exact_first || settings_.followers < 1)
        throw InputError("evaluation: a prefix beyond the exact first tokens, and tokens after it, are needed");
    for (const auto& ids : sequences_)
        if (static_cast<int64_t>(ids.size()) != settings_.prefix + settings_.followers)
            throw InputError("evaluation: a sequence has " + std::to_string(ids.size()) + " tokens, not " +
                             std::to_string(settings_.prefix + settings_.followers));
}

void CodecEvaluation::prepare_step() {
    if (ready()) return;
    const at::NoGradGuard no_grad;
    ForwardOptions kept;
    kept.logits = Logits::none;
    const std::span<const TokenId> ids(sequences_[exact_.size()]);
    KvCache cache = model_.make_cache(static_cast<int64_t>(ids.size()));
    const auto start = std::chrono::steady_clock::now();
    StateRows rows = model_.prefill(cache, ids.first(static_cast<size_t>(settings_.prefix)), kept).rows;
    replay_seconds_ += seconds_since(start);
    replayed_ += static_cast<double>(settings_.prefix);
    const at::Tensor after =
        model_.logits_after(rows.key.unsqueeze(0), rows.value.unsqueeze(0),
                            {std::vector<TokenId>(ids.begin() + static_cast<ptrdiff_t>(settings_.prefix), ids.end())});
    log_probs_.push_back(at::log_softmax(after.squeeze(0), -1).cpu());
    const StateRows coded = rows.slice(settings_.exact_first, settings_.prefix - settings_.exact_first);
    add(hidden_sum_, coded.hidden.sum(0, false, at::kDouble));
    add(square_sum_, coded.hidden.to(at::kDouble).square().sum(0));
    add(key_sum_, coded.key.sum(0, false, at::kDouble));
    add(value_sum_, coded.value.sum(0, false, at::kDouble));
    const int64_t queries = std::min(kAttentionQueries, settings_.prefix - settings_.exact_first);
    const int64_t from = settings_.prefix - queries;
    queries_.push_back(model_.rotate(
        model_.queries(rows.slice(from, queries), ids.subspan(static_cast<size_t>(from), static_cast<size_t>(queries))),
        from));
    exact_.push_back(std::move(rows));
    if (ready()) finish_means();
}

void CodecEvaluation::finish_means() {
    const auto tokens = static_cast<double>((settings_.prefix - settings_.exact_first) * sequences());
    hidden_mean_ = (hidden_sum_ / tokens).to(at::kFloat);
    hidden_variance_ = (square_sum_ / tokens - (hidden_sum_ / tokens).square()).clamp_min(1e-12).to(at::kFloat);
    key_mean_ = (key_sum_ / tokens).to(at::kFloat);
    value_mean_ = (value_sum_ / tokens).to(at::kFloat);
}

// --- one codec ----------------------------------------------------------------------------------------------

struct CodecTrial::Totals {
    at::Tensor hidden_error, hidden_spread, standard_error, key_error, key_spread, value_error, value_spread;
    at::Tensor key_heads, value_heads, attention_error, attention_size;
    double cosine = 0, cosines = 0, tokens = 0;
    std::vector<at::Tensor> kl;
    double bytes = 0, encode = 0, decode = 0;
    double agreeing = 0, followers = 0, nll = 0, nll_exact = 0, scored = 0;
};

CodecTrial::CodecTrial(const CodecEvaluation& evaluation, std::shared_ptr<const RunCodec> codec)
    : evaluation_(evaluation), codec_(std::move(codec)), totals_(std::make_unique<Totals>()) {
    if (!evaluation_.ready()) throw InputError("evaluation: its exact runs come first");
}

CodecTrial::~CodecTrial() = default;

void CodecTrial::step() {
    if (done()) return;
    const at::NoGradGuard no_grad;
    const auto& settings = evaluation_.settings_;
    const StateRows exact = evaluation_.exact_[static_cast<size_t>(next_)].slice(
        settings.exact_first, settings.prefix - settings.exact_first);
    StateRows decoded = restored(next_++);
    add_reconstruction(exact, decoded);
    if (!decoded.key.defined()) return;
    add_attention(decoded, static_cast<size_t>(next_ - 1));
    waiting_.push_back(std::move(decoded));
    if (static_cast<int64_t>(waiting_.size()) == settings.batch || done()) add_resumed();
}

StateRows CodecTrial::restored(int64_t sequence) {
    const auto& settings = evaluation_.settings_;
    const int64_t first = settings.exact_first;
    const std::span<const TokenId> prefix =
        std::span(evaluation_.sequences_[static_cast<size_t>(sequence)]).first(static_cast<size_t>(settings.prefix));
    const std::span<const TokenId> tokens = prefix.subspan(static_cast<size_t>(first));
    auto start = std::chrono::steady_clock::now();
    const std::string bytes =
        codec_->encode(coded_run(evaluation_.model_, evaluation_.exact_[static_cast<size_t>(sequence)], prefix, first));
    totals_->encode += seconds_since(start);
    totals_->bytes += static_cast<double>(bytes.size());
    start = std::chrono::steady_clock::now();
    StateRows decoded = codec_->decode(bytes, tokens, first);
    totals_->decode += seconds_since(start);
    return decoded;
}

void CodecTrial::add_reconstruction(const StateRows& exact, const StateRows& decoded) {
    Totals& t = *totals_;
    if (decoded.hidden.defined()) {
        const at::Tensor error = (exact.hidden - decoded.hidden).square();
        add(t.hidden_error, by_layer(error));
        add(t.hidden_spread, by_layer((exact.hidden - evaluation_.hidden_mean_).square()));
        add(t.standard_error, by_layer(error / evaluation_.hidden_variance_));
        t.cosine += at::cosine_similarity(exact.hidden, decoded.hidden, -1).mean().item<double>();
        t.cosines += 1;
    }
    if (decoded.key.defined()) {
        add(t.key_error, by_layer((exact.key - decoded.key).square()));
        add(t.key_spread, by_layer((exact.key - evaluation_.key_mean_).square()));
        add(t.value_error, by_layer((exact.value - decoded.value).square()));
        add(t.value_spread, by_layer((exact.value - evaluation_.value_mean_).square()));
    }
    t.tokens += static_cast<double>(exact.tokens());
}

void CodecTrial::add_attention(const StateRows& decoded, size_t sequence) {
    const auto& settings = evaluation_.settings_;
    const StateRows& exact = evaluation_.exact_[sequence];
    const auto output = [&](const at::Tensor& key, const at::Tensor& value) {
        return attention_output(evaluation_.model_.config(), evaluation_.queries_[sequence],
                                evaluation_.model_.rotate(key, 0), value);
    };
    const auto whole = [&](const at::Tensor& x, const at::Tensor& back) {
        return at::cat({x.slice(0, 0, settings.exact_first), back});
    };
    const at::Tensor truth = output(exact.key, exact.value);
    const at::Tensor other = output(whole(exact.key, decoded.key), whole(exact.value, decoded.value));
    add(totals_->attention_error, by_layer((truth - other).square()));
    add(totals_->attention_size, by_layer(truth.square()));
    add(totals_->key_heads, by_head((exact.key.slice(0, settings.exact_first) - decoded.key).square()));
    add(totals_->value_heads, by_head((exact.value.slice(0, settings.exact_first) - decoded.value).square()));
}

void CodecTrial::add_resumed() {
    const auto& settings = evaluation_.settings_;
    Totals& t = *totals_;
    std::vector<at::Tensor> keys, values;
    std::vector<std::vector<TokenId>> after;
    const auto first = static_cast<size_t>(next_) - waiting_.size();
    for (size_t i = 0; i < waiting_.size(); ++i) {
        const StateRows& exact = evaluation_.exact_[first + i];
        keys.push_back(at::cat({exact.key.slice(0, 0, settings.exact_first), waiting_[i].key}));
        values.push_back(at::cat({exact.value.slice(0, 0, settings.exact_first), waiting_[i].value}));
        const auto& ids = evaluation_.sequences_[first + i];
        after.emplace_back(ids.begin() + static_cast<ptrdiff_t>(settings.prefix), ids.end());
    }
    const at::Tensor logits = evaluation_.model_.logits_after(at::stack(keys), at::stack(values), after);
    for (size_t i = 0; i < waiting_.size(); ++i) {
        const at::Tensor& p = evaluation_.log_probs_[first + i];
        const at::Tensor q = at::log_softmax(logits[static_cast<int64_t>(i)], -1).cpu();
        t.kl.push_back((p.exp() * (p - q)).sum(-1).clamp_min(0));
        t.agreeing += (p.argmax(-1) == q.argmax(-1)).sum().item<double>();
        t.followers += static_cast<double>(p.size(0));
        if (p.size(0) < 2) continue;
        const std::vector<int64_t> next(after[i].begin() + 1, after[i].end());
        const at::Tensor ids = at::tensor(next, at::kLong).unsqueeze(1);
        t.nll -= q.slice(0, 0, -1).gather(1, ids).sum().item<double>();
        t.nll_exact -= p.slice(0, 0, -1).gather(1, ids).sum().item<double>();
        t.scored += static_cast<double>(next.size());
    }
    waiting_.clear();
}

CodecFigures CodecTrial::figures() const {
    const Totals& t = *totals_;
    const ModelConfig& config = evaluation_.model_.config();
    CodecFigures out;
    out.name = codec_->name();
    out.kind = codec_->kind();
    out.part = codec_->part();
    out.sidecar_bytes = codec_->sidecar_bytes();
    out.tokens = evaluation_.settings_.prefix * next_;
    out.bytes_per_token = t.bytes / static_cast<double>(out.tokens) + sizeof(TokenId);
    out.ratio_fp16 = fp16_bytes(config, codec_->part()) / out.bytes_per_token;
    out.encode_tokens_per_s = t.tokens / t.encode;
    out.restore_tokens_per_s = t.tokens / t.decode;
    if (t.hidden_error.defined()) {
        out.hidden_fvu_layers = numbers(t.hidden_error / t.hidden_spread);
        out.hidden_fvu = mean_of(out.hidden_fvu_layers);
        out.hidden_mse_layers = numbers(t.hidden_error / (t.tokens * static_cast<double>(config.d_model)));
        out.hidden_fvu_standardised =
            mean_of(numbers(t.standard_error / (t.tokens * static_cast<double>(config.d_model))));
        out.mid_layer_mse = out.hidden_fvu_layers[out.hidden_fvu_layers.size() / 2];
        out.hidden_cosine = t.cosine / t.cosines;
    }
    if (!t.kl.empty()) {
        out.k_fvu_layers = numbers(t.key_error / t.key_spread);
        out.v_fvu_layers = numbers(t.value_error / t.value_spread);
        out.k_fvu = mean_of(out.k_fvu_layers);
        out.v_fvu = mean_of(out.v_fvu_layers);
        const double values = t.tokens * static_cast<double>(config.head_dim);
        out.k_mse_heads = numbers(t.key_heads / values);
        out.v_mse_heads = numbers(t.value_heads / values);
        out.attention_error_layers = numbers(t.attention_error / t.attention_size);
        out.attention_error = mean_of(out.attention_error_layers);
        const at::Tensor kl = at::cat(t.kl);
        out.kl_nats = kl.mean(at::kDouble).item<double>();
        out.kl_p95 = at::quantile(kl, 0.95).item<double>();
        out.top1_agreement = t.agreeing / t.followers;
        if (t.scored > 0) out.delta_nll = (t.nll - t.nll_exact) / t.scored;
    }
    return out;
}

}  // namespace savepoint
