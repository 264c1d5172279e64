#include "core/sidecar/rate_distortion.h"

#include <ATen/ATen.h>

#include <cmath>
#include <deque>

#include "core/model/error.h"
#include "core/model/sha256.h"
#include "core/sidecar/baseline_codecs.h"
#include "core/sidecar/coded_run.h"
#include "core/sidecar/codec_transform.h"
#include "core/sidecar/fit.h"
#include "core/sidecar/reference_text.h"
#include "core/sidecar/sensitivity.h"
#include "core/sidecar/step_queue.h"
#include "core/sidecar/transform_decomposition.h"
#include "core/state/json_fields.h"

namespace savepoint {

namespace {

constexpr int64_t kSequence = 256;  // of the text that is fitted on
constexpr int64_t kSensitivityBatches = 10, kSensitivityBatch = 3, kSensitivityPrefix = 192;
constexpr size_t kCalibrationSequences = 6, kImportanceSequences = 18;

// What steps cost beside each other, for the progress bar: seconds on two idle processors.
constexpr double kReadCost = 0.2, kGradientCost = 1.8, kForwardCost = 0.6, kMomentsCost = 0.15, kDecomposeCost = 6,
                 kRateCost = 4, kExactCost = 0.7, kTrialCost = 0.4, kLongRunCost = 14, kCalibrationCost = 1.6;

}  // namespace

struct RateDistortion::Impl : StepQueue {
    Impl(const Transformer& model, const Tokenizer& tokenizer, RateDistortionSettings asked,
         std::shared_ptr<const RunCodec> codec)
        : model(model),
          tokenizer(tokenizer),
          settings(std::move(asked)),
          saved(std::move(codec)),
          gradients(model, settings.seed) {
        plan("reading text", kReadCost, [this] { read(); });
    }

    bool wants(const char* part) const {
        return std::find(settings.parts.begin(), settings.parts.end(), part) != settings.parts.end();
    }

    // The held-out documents are drawn first, by seed: leaving out twice a sequence more than they fill keeps the
    // fitted ones apart from them whatever the lengths of both.
    void read() {
        if (settings.held_out == "chat" && !tokenizer.has_chat_template())
            throw InputError("held_out: chat needs a chat template, and this model's file has none; choose other text");
        const int64_t length = settings.prefix + settings.followers;
        const Corpus corpus = corpus_named(settings.corpus);
        fit = split_corpus(corpus, tokenizer, kSequence, settings.fit_tokens, settings.held_out_tokens + 2 * length,
                           settings.seed)
                  .fit;
        std::string bytes;
        for (const auto& ids : fit)
            bytes.append(reinterpret_cast<const char*>(ids.data()), ids.size() * sizeof(TokenId));
        data_sha256 = sha256_hex(bytes);
        const bool other =
            !settings.held_out.empty() && settings.held_out != "chat" && settings.held_out != settings.corpus;
        auto held_out = split_corpus(other ? corpus_named(settings.held_out) : corpus, tokenizer, length, 0,
                                     settings.held_out_tokens, settings.seed)
                            .held_out;
        if (settings.held_out == "chat") lay_out_as_chat(tokenizer, held_out);
        evaluation.emplace(model, std::move(held_out),
                           CodecEvaluation::Settings{settings.prefix, settings.followers, settings.exact_first, 3});
        if (!saved) plan_fit();
        plan_trials();
    }

    void plan_fit() {
        const bool weighted = wants("kv") || wants("full");
        if (weighted) plan_sensitivity();
        plan("preparing the fits", 0.1, [this] { make_fits(); });
        for (size_t i = 0; i < fit.size(); ++i) {
            plan(counted("running the model on text", i, fit.size()), kForwardCost, [=, this] { forward(i); });
            plan(counted("moments of text", i, fit.size()), kMomentsCost, [=, this] { add(i); });
        }
    }

    void plan_sensitivity() {
        const int64_t batches =
            std::min<int64_t>(kSensitivityBatches, static_cast<int64_t>(fit.size()) / kSensitivityBatch);
        for (int64_t b = 0; b < batches; ++b)
            plan(counted("measuring what the next token is sensitive to,", static_cast<size_t>(b),
                         static_cast<size_t>(batches)),
                 kGradientCost, [=, this] {
                     const auto first = fit.begin() + b * kSensitivityBatch;
                     gradients.add({first, first + kSensitivityBatch}, kSensitivityPrefix, settings.exact_first);
                 });
        plan("sensitivity", 0.1, [this] { sensitivity = gradients.finish(); });
    }

    TransformSettings transform(CodedPart part) const {
        TransformSettings t;
        t.part = part;
        t.group_size = settings.group_size;
        t.ratios = settings.ratios;
        t.label = "transform " + to_string(part);
        return t;
    }

    struct TransformChoice {
        TransformSettings settings;
        bool weighted, importance;
    };

    // The transform codecs of each part are planned here, so that their steps are known; their matrices come later.
    std::vector<TransformChoice> transforms() const {
        std::vector<TransformChoice> all;
        for (const CodedPart part : {CodedPart::kv, CodedPart::hidden, CodedPart::full}) {
            if (!wants(to_string(part).c_str())) continue;
            const bool kv = part == CodedPart::kv, weighted = part != CodedPart::hidden;
            TransformSettings made = transform(part);
            all.push_back({made, weighted, kv});
            if (!settings.ablations) continue;
            if (kv) {
                TransformSettings squares = made;  // rounded for the least squared error
                squares.rounding = rounding_of(CodedPart::hidden);
                squares.label += " -rounding";
                all.push_back({squares, weighted, true});
                made.label += " -importance";
                all.push_back({made, weighted, false});
            }
            made.from_below = false;
            made.label += " -below";
            all.push_back({made, weighted, false});
            made.from_token = false;
            made.label += " -token";
            all.push_back({made, weighted, false});
            if (!kv) continue;
            made.label += " -sensitivity";
            all.push_back({made, false, false});
        }
        return all;
    }

    void make_fits() {
        for (const TransformChoice& one : transforms())
            transform_fits.push_back(std::make_unique<TransformFit>(model.shared_weights(), one.settings,
                                                                    one.weighted ? sensitivity : std::nullopt));
        if (!settings.baselines) return;
        for (const CodedPart part : {CodedPart::kv, CodedPart::hidden})
            if (wants(to_string(part).c_str()))
                baseline_fits.emplace_back(part, make_baseline_fit(model.config(), part));
    }

    // What the sample holds ends where a saved run would: the bits of a token depend on what is near the end.
    std::vector<TokenId> run_ids(size_t i) const {
        const auto& ids = fit[i];
        const int64_t length = TransformFit::samples(static_cast<int64_t>(i)) ? kSensitivityPrefix : kSequence;
        return {ids.begin(), ids.begin() + length};
    }

    void forward(size_t i) {
        ForwardOptions kept;
        kept.logits = Logits::none;
        rows = model.forward_batch({run_ids(i)}, kept).rows;
    }

    void add(size_t i) {
        const std::vector<TokenId> ids = run_ids(i);
        const CodedRun run = coded_run(model, rows, ids, settings.exact_first);
        for (const auto& one : transform_fits) one->add(run);
        for (const auto& [part, one] : baseline_fits) one->add(run);
    }

    void plan_trials() {
        for (int64_t i = 0; i < evaluation->sequences(); ++i)
            plan(counted("exact run", static_cast<size_t>(i), static_cast<size_t>(evaluation->sequences())), kExactCost,
                 [this] { evaluation->prepare_step(); });
        if (saved) enlist(saved);
        const auto list = saved ? std::vector<TransformChoice>() : transforms();
        for (size_t f = 0; f < list.size(); ++f) {
            plan_decomposition(f, list[f]);
            for (const double ratio : settings.ratios)
                plan(list[f].settings.label + ": allocating bits", kRateCost,
                     [=, this] { enlist(transform_fits[f]->codec(ratio)); });
            plan("clearing up", 0, [=, this] { transform_fits[f].reset(); });
        }
        if (settings.baselines && !saved) plan("finishing the baselines", 2, [this] { enlist_baselines(); });
        plan("judging", 0, [this] { judge_next(); });
    }

    // The text that calibrates is what the transform keeps for its tables, not what its moments are from.
    TransformDecomposition::Text decomposition_text(const TransformChoice& choice) const {
        TransformDecomposition::Text text{{}, {}, kSensitivityPrefix, settings.exact_first};
        for (size_t i = 0; i < fit.size() && choice.weighted; ++i)
            if (TransformFit::samples(static_cast<int64_t>(i)) && text.calibration.size() < kCalibrationSequences)
                text.calibration.push_back(fit[i]);
        for (size_t i = 0; i < std::min(fit.size(), kImportanceSequences) && choice.importance; ++i)
            text.importance.push_back(fit[fit.size() - 1 - i]);
        return text;
    }

    void plan_decomposition(size_t f, const TransformChoice& choice) {
        const std::string label = choice.settings.label;
        auto job = std::make_shared<std::optional<TransformDecomposition>>();
        plan(label + ": decomposing groups", 0, [=, this] {
            job->emplace(model, *transform_fits[f], choice.weighted ? sensitivity : std::nullopt,
                         decomposition_text(choice), std::sqrt(settings.ratios.front() * settings.ratios.back()));
        });
        const int64_t count = TransformDecomposition::steps(model.config().layers, settings.group_size,
                                                            decomposition_text(choice), choice.weighted);
        for (int64_t i = 0; i < count; ++i)
            plan(counted(label + ": decomposing and weighing,", static_cast<size_t>(i), static_cast<size_t>(count)),
                 choice.weighted ? kCalibrationCost : kDecomposeCost, [job] { (*job)->step(); });
    }

    void enlist(std::shared_ptr<const RunCodec> codec) {
        expect(kTrialCost * static_cast<double>(evaluation->sequences()));
        if (goes_on(*codec)) expect(kLongRunCost * static_cast<double>(long_runs()));
        waiting.push_back(std::move(codec));
    }

    bool goes_on(const RunCodec& codec) const { return long_runs() > 0 && codec.part() != CodedPart::hidden; }
    int64_t long_runs() const { return std::min(settings.long_runs, evaluation->sequences()); }

    void enlist_baselines() {
        for (auto& [part, fitted] : baseline_fits)
            for (auto& codec : all_baselines(model.weights(), *fitted, part)) enlist(std::move(codec));
        baseline_fits.clear();
    }

    // Trials are planned one codec at a time: how many are enlisted is not known before.
    void judge_next() {
        if (waiting.empty()) return;
        const std::shared_ptr<const RunCodec> codec = waiting.front();
        waiting.pop_front();
        const std::string stage = "judging " + codec->name();
        auto trial = std::make_shared<CodecTrial>(*evaluation, codec);
        std::deque<Step> made;
        for (int64_t i = 0; i < evaluation->sequences(); ++i)
            made.push_back({stage, kTrialCost, [trial] { trial->step(); }});
        std::shared_ptr<LongRuns> runs;
        if (goes_on(*codec)) {
            auto ids = evaluation->ids();
            ids.resize(static_cast<size_t>(long_runs()));
            runs = std::make_shared<LongRuns>(model, std::move(ids), codec,
                                              LongRunSettings{settings.prefix, settings.exact_first});
            for (int64_t i = 0; i < long_runs(); ++i)
                made.push_back({"letting " + codec->name() + " go on", kLongRunCost, [runs] { runs->step(); }});
        }
        made.push_back({stage, 0, [this, trial, codec, runs] {
                            judged.push_back({codec, trial->figures()});
                            if (runs) judged.back().figures.long_runs = runs->figures();
                            judge_next();
                        }});
        plan_first(std::move(made));
    }

    const Transformer& model;
    const Tokenizer& tokenizer;
    RateDistortionSettings settings;
    std::shared_ptr<const RunCodec> saved;
    SensitivityFit gradients;
    std::optional<Sensitivity> sensitivity;
    std::vector<std::vector<TokenId>> fit;
    std::string data_sha256;
    std::optional<CodecEvaluation> evaluation;
    std::vector<std::unique_ptr<TransformFit>> transform_fits;
    std::vector<std::pair<CodedPart, std::unique_ptr<RunCodecFit>>> baseline_fits;
    StateRows rows;
    std::deque<std::shared_ptr<const RunCodec>> waiting;
    std::vector<Judged> judged;
};

RateDistortion::RateDistortion(const Transformer& model, const Tokenizer& tokenizer, RateDistortionSettings settings,
                               std::shared_ptr<const RunCodec> saved)
    : impl_(std::make_unique<Impl>(model, tokenizer, std::move(settings), std::move(saved))) {}
RateDistortion::~RateDistortion() = default;

void RateDistortion::step() { impl_->run_next(); }

bool RateDistortion::done() const { return impl_->done(); }

double RateDistortion::progress() const { return impl_->progress(); }

std::string RateDistortion::stage() const { return impl_->stage(); }
const std::vector<RateDistortion::Judged>& RateDistortion::judged() const { return impl_->judged; }

double RateDistortion::replay_tokens_per_s() const {
    return impl_->evaluation && impl_->evaluation->ready() ? impl_->evaluation->replay_tokens_per_s() : NAN;
}

CodecInfo RateDistortion::info(const CodecFigures& figures) const {
    CodecInfo info;
    const RateDistortionSettings& s = impl_->settings;
    info.model_sha256 = impl_->model.weights().sha256();
    info.data_sha256 = impl_->data_sha256;
    for (const auto& ids : impl_->fit) info.fitted_tokens += static_cast<int64_t>(ids.size());
    info.seed = s.seed;
    info.settings = {{"corpus", s.corpus},         {"fit_tokens", s.fit_tokens},
                     {"held_out", s.held_out},     {"held_out_tokens", s.held_out_tokens},
                     {"prefix", s.prefix},         {"followers", s.followers},
                     {"group_size", s.group_size}, {"seed", s.seed}};
    info.figures = savepoint::described(figures);
    return info;
}

nlohmann::json RateDistortion::described() const {
    nlohmann::json codecs = nlohmann::json::array();
    for (const Judged& one : judged()) codecs.push_back(savepoint::described(one.figures));
    const double replay = replay_tokens_per_s();
    const RateDistortionSettings& s = impl_->settings;
    return {{"codecs", codecs},
            {"replay_tokens_per_s", number_or_null(replay)},
            {"fit_corpus", s.corpus},
            {"held_out_corpus", s.held_out.empty() ? s.corpus : s.held_out},
            {"fit_sha256", impl_->data_sha256},
            {"prefix", s.prefix},
            {"followers", s.followers},
            {"held_out_sequences", impl_->evaluation ? impl_->evaluation->sequences() : 0},
            {"seed", s.seed}};
}

}  // namespace savepoint
