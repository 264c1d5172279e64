#include "core/analysis/reference_fit.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <deque>

#include "core/analysis/fit_figures.h"
#include "core/sidecar/reference_text.h"
#include "core/model/error.h"
#include "core/sidecar/step_queue.h"
#include "core/state/safetensors.h"

namespace savepoint {

namespace {

using Sequences = std::vector<std::vector<TokenId>>;

constexpr int64_t kBatchTokens = 256;  // of one forward pass: about a third of a second on two processors
constexpr int64_t kResumedSequences = 4, kResumedPrefix = 128, kResumedTokens = 64;

// What steps cost beside each other, for the progress bar: seconds on two processors.
constexpr double kReadingCost = 0.2, kSamplingCost = 0.1, kForwardCost = 0.45, kMomentsCost = 0.07, kReadOutCost = 0.04,
                 kMeasuringCost = 0.1, kDecompositionCost = 1, kResumeCost = 1, kFinishCost = 0.5;

// Consecutive sequences of equal length that go through the model together.
struct Batch {
    size_t first = 0, count = 0;
};

nlohmann::json described(const PcaSettings& pca) {
    return {{"group_size", pca.group_size},
            {"hidden_components", pca.hidden_components},
            {"key_components", pca.key_components},
            {"value_components", pca.value_components},
            {"bits", pca.bits},
            {"exact_first_tokens", pca.exact_first_tokens},
            {"hidden_stride", pca.hidden_stride}};
}

std::vector<Batch> batches_of(const Sequences& sequences) {
    std::vector<Batch> batches;
    for (size_t i = 0; i < sequences.size(); ++i) {
        const size_t length = sequences[i].size();
        const bool joins = !batches.empty() && sequences[i - 1].size() == length &&
                           static_cast<int64_t>((batches.back().count + 1) * length) <= kBatchTokens;
        if (joins)
            ++batches.back().count;
        else
            batches.push_back({i, 1});
    }
    return batches;
}

int64_t tokens_in(const Sequences& sequences) {
    int64_t tokens = 0;
    for (const auto& sequence : sequences) tokens += static_cast<int64_t>(sequence.size());
    return tokens;
}

std::string ids_sha256(const Sequences& sequences) {
    std::string bytes;
    for (const auto& ids : sequences)
        bytes.append(reinterpret_cast<const char*>(ids.data()), ids.size() * sizeof(TokenId));
    return sha256_hex(bytes);
}

}  // namespace

struct ReferenceFit::Impl : StepQueue {
    Impl(const Transformer& model, const Tokenizer& tokenizer, FitSettings asked)
        : model(model),
          tokenizer(tokenizer),
          settings(std::move(asked)),
          pca(model.config(), settings.pca),
          identity(model.config(), FeatureMap::identity),
          elu1(model.config(), FeatureMap::elu1) {
        hook_queries();
        plan("reading " + settings.corpus, kReadingCost, [this] { read(); });
    }

    void hook_queries() {
        queries.resize(static_cast<size_t>(model.config().layers));
        for (size_t layer = 0; layer < queries.size(); ++layer) {
            hooks.read("blocks." + std::to_string(layer) + ".attn.hook_q",
                       [this, layer](const at::Tensor& q) { queries[layer] = q.to(at::kCPU).flatten(0, 1); });
        }
    }

    // Everything that follows is planned here at once, so that progress never steps back.
    void read() {
        const Corpus corpus = corpus_named(settings.corpus);
        TokenSplit split = split_corpus(corpus, tokenizer, settings.sequence_length, settings.fit_tokens,
                                        settings.calibration_tokens, settings.seed);
        fit = std::move(split.fit);
        held_out = std::move(split.held_out);
        lay_out_as_reference_text(tokenizer, fit);
        lay_out_as_reference_text(tokenizer, held_out);
        settings.fit_tokens = tokens_in(fit);
        settings.calibration_tokens = tokens_in(held_out);
        if (settings.own_samples > 0) plan_samples(corpus);
        plan_fit();
        plan_calibration();
        plan_resuming();
        plan("writing down the figures", kFinishCost, [this] { finish(); });
    }

    // The places of the samples are kept now, and filled when they have been drawn.
    void plan_samples(const Corpus& corpus) {
        const int64_t length = settings.own_sample_length;
        auto starts = sample_starts(corpus, tokenizer, settings.own_samples, length, settings.seed);
        settings.own_samples = static_cast<int64_t>(starts.size());
        if (starts.empty()) return;
        // First, so that no quantile is taken from them: short samples would fill the tail of the early positions
        // alone.
        fit.insert(fit.begin(), starts.size(), std::vector<TokenId>(static_cast<size_t>(length), 0));
        samples.emplace(model, std::move(starts), length, settings.seed);
        for (size_t i = 1; i < static_cast<size_t>(length); ++i) {
            plan(counted("sampling from the model, token", i, static_cast<size_t>(length)), kSamplingCost,
                 [this] { samples->step(); });
        }
        plan("sampling from the model", 0, [this] {
            std::copy(samples->sequences().begin(), samples->sequences().end(), fit.begin());
            samples.reset();
        });
    }

    // All of it goes into the codecs. Of the anomaly references, the first texts give the moments and the others
    // the quantiles, which need many texts: the tokens of one text rise and fall together.
    void plan_fit() {
        const std::vector<Batch> batches = batches_of(fit);
        const size_t moments = std::min(batches.size(), std::max<size_t>(4, batches.size() * 2 / 5));
        for (size_t i = 0; i < batches.size(); ++i) {
            const Batch batch = batches[i];
            if (i == moments) plan("shrinking covariances", kFinishCost, [this] { finish_moments(); });
            plan(counted("forward pass", i, batches.size()), kForwardCost, [=, this] { forward(fit, batch); });
            plan(counted("moments of pass", i, batches.size()), kMomentsCost, [this] { add_moments(); });
            for (const FeatureMap map : {FeatureMap::identity, FeatureMap::elu1}) {
                plan(counted("read-outs of pass", i, batches.size()), kReadOutCost, [=, this] {
                    each_read_out(map, [&](const at::Tensor& rows) {
                        if (i < moments)
                            anomaly(map).add(rows);
                        else
                            anomaly(map).calibrate(rows);
                    });
                });
            }
        }
        if (moments == batches.size()) plan("shrinking covariances", kFinishCost, [this] { finish_moments(); });
        const auto groups = static_cast<size_t>(pca.parts()) - 2;
        for (size_t part = 0; part < groups + 2; ++part) {
            const std::string stage = part < groups    ? counted("decomposing group", part, groups)
                                      : part == groups ? "decomposing keys"
                                                       : "decomposing values";
            plan(stage, kDecompositionCost, [=, this] { pca.decompose(static_cast<int64_t>(part)); });
        }
        plan("putting the sidecar together", kFinishCost, [this] { finish_codecs(); });
    }

    void plan_calibration() {
        const std::vector<Batch> batches = batches_of(held_out);
        for (size_t i = 0; i < batches.size(); ++i) {
            const Batch batch = batches[i];
            plan(counted("calibration pass", i, batches.size()), kForwardCost, [=, this] { forward(held_out, batch); });
            for (const FeatureMap map : {FeatureMap::identity, FeatureMap::elu1}) {
                plan(counted("calibrating on pass", i, batches.size()), kReadOutCost,
                     [=, this] { each_read_out(map, [&](const at::Tensor& rows) { anomaly(map).calibrate(rows); }); });
            }
            // Every second pass: figures need fewer tokens than quantiles.
            if (i % 2 == 0) plan(counted("measuring pass", i, batches.size()), kMeasuringCost, [this] { measure(); });
        }
    }

    void plan_resuming() {
        const auto wanted = static_cast<size_t>(kResumedPrefix + kResumedTokens);
        size_t planned_sequences = 0;
        for (size_t i = 0; i < held_out.size() && planned_sequences < kResumedSequences; ++i) {
            if (held_out[i].size() < wanted) continue;
            ++planned_sequences;
            plan("resuming from decoded states, " + std::to_string(planned_sequences), kResumeCost, [=, this] {
                const std::vector<TokenId> tokens(held_out[i].begin(),
                                                  held_out[i].begin() + static_cast<ptrdiff_t>(wanted));
                figures.add(resume_fidelity(model, *sidecar, tokens, kResumedPrefix));
            });
        }
    }

    void forward(const Sequences& sequences, const Batch& batch) {
        const auto first = sequences.begin() + static_cast<ptrdiff_t>(batch.first);
        ForwardOptions options;
        options.logits = Logits::none;
        options.hooks = &hooks;
        rows = model.forward_batch(Sequences(first, first + static_cast<ptrdiff_t>(batch.count)), options).rows;
        query = at::stack(queries, 1);
        length = static_cast<int64_t>(first->size());
    }

    AnomalyFit& anomaly(FeatureMap map) { return map == FeatureMap::identity ? identity : elu1; }

    template <typename Take>
    void each_read_out(FeatureMap map, const Take& take) {
        for (int64_t from = 0; from < rows.tokens(); from += length) {
            const StateRows one = rows.slice(from, length);
            take(read_out(query.slice(0, from, from + length), one.key, one.value, map));
        }
    }

    void add_moments() {
        const int64_t first = std::min(settings.pca.exact_first_tokens, length);
        for (int64_t from = 0; from < rows.tokens(); from += length) pca.add(rows.slice(from + first, length - first));
    }

    void measure() {
        for (int64_t from = 0; from < rows.tokens(); from += length) {
            figures.add(reconstruction_error(*sidecar, rows.slice(from, length)));
        }
    }

    void finish_codecs() {
        codecs = pca.finish();
        sidecar = described_sidecar();
    }

    void finish_moments() {
        identity.fit_moments();
        elu1.fit_moments();
    }

    std::shared_ptr<const Sidecar> described_sidecar() const {
        SidecarInfo info;
        info.model_sha256 = model.weights().sha256();
        info.data_sha256 = ids_sha256(fit);
        info.fitted_tokens = pca.tokens();
        info.seed = settings.seed;
        info.exact_first_tokens = settings.pca.exact_first_tokens;
        info.settings = {{"corpus", settings.corpus},
                         {"sequence_length", settings.sequence_length},
                         {"fit_tokens", settings.fit_tokens},
                         {"calibration_tokens", settings.calibration_tokens},
                         {"own_samples", settings.own_samples},
                         {"own_sample_length", settings.own_sample_length},
                         {"seed", settings.seed},
                         {"pca", described(settings.pca)}};
        info.figures = figures.described();
        return std::make_shared<Sidecar>(codecs.hidden, codecs.kv, std::move(info));
    }

    void finish() { result = {described_sidecar(), identity.finish(), elu1.finish()}; }

    const Transformer& model;
    const Tokenizer& tokenizer;
    FitSettings settings;
    PcaFit pca;
    AnomalyFit identity, elu1;
    std::optional<OwnSamples> samples;
    Sequences fit, held_out;
    Hooks hooks;

    std::vector<at::Tensor> queries;  // of the last pass, by layer
    at::Tensor query;                 // [tokens, layers, heads, head_dim]
    StateRows rows;
    int64_t length = 0;  // tokens of each of its sequences

    PcaFit::Codecs codecs;
    std::shared_ptr<const Sidecar> sidecar;  // before its figures are known
    FitFigures figures;
    Result result;
};

ReferenceFit::ReferenceFit(const Transformer& model, const Tokenizer& tokenizer, FitSettings settings)
    : impl_(std::make_unique<Impl>(model, tokenizer, std::move(settings))) {}

ReferenceFit::~ReferenceFit() = default;

void ReferenceFit::step() { impl_->run_next(); }

bool ReferenceFit::done() const { return impl_->done(); }

double ReferenceFit::progress() const { return impl_->progress(); }

std::string ReferenceFit::stage() const { return impl_->stage(); }

ReferenceFit::Result ReferenceFit::result() const {
    if (!done()) throw InputError("fit: has not finished yet");
    return impl_->result;
}

}  // namespace savepoint
