#include "core/sidecar/codec_training.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <deque>
#include <optional>

#include "core/model/error.h"
#include "core/sidecar/coded_run.h"
#include "core/sidecar/sensitivity.h"
#include "core/sidecar/step_queue.h"
#include "core/sidecar/training_record.h"
#include "core/sidecar/training_rounds.h"
#include "core/sidecar/training_text.h"
#include "core/sidecar/transform_decomposition.h"

namespace savepoint {

namespace {

constexpr int64_t kSensitivityBatches = 10, kSensitivityBatch = 3;
constexpr size_t kImportanceSequences = 18;
constexpr int kStepTrials = 5;

// What steps cost beside each other, for the progress bar: seconds on two idle processors.
constexpr double kReadCost = 0.2, kGradientCost = 1.8, kForwardCost = 0.35, kMomentsCost = 0.4, kCalibrationCost = 1.6,
                 kRateCost = 4, kStepCost = 0.5, kKlCost = 1.2, kLookCost = 1.5, kExactCost = 0.4, kTrialCost = 0.4,
                 kStepTrialCost = 2;

void require(bool condition, const std::string& message) {
    if (!condition) throw InputError("training: " + message);
}

// ln y at ln x on the line through the two points nearest to x; NaN with fewer than two.
double interpolated(std::vector<std::pair<double, double>> points, double x) {
    if (points.size() < 2) return NAN;
    std::sort(points.begin(), points.end());
    size_t i = 1;
    while (i + 1 < points.size() && points[i].first < x) ++i;
    const auto& [x0, y0] = points[i - 1];
    const auto& [x1, y1] = points[i];
    const double t = (std::log(x) - std::log(x0)) / (std::log(x1) - std::log(x0));
    return std::exp(std::log(y0) + t * (std::log(y1) - std::log(y0)));
}

}  // namespace

struct CodecTraining::Impl : StepQueue {
    Impl(const Transformer& model, const Tokenizer& tokenizer, TrainingSettings asked)
        : model(model), tokenizer(tokenizer), settings(settled(std::move(asked))), gradients(model, settings.seed) {
        plan("reading text", kReadCost, [this] { read(); });
    }

    CodedPart part() const { return coded_part_from(settings.codec.part); }

    void read() {
        text = training_text(settings, tokenizer);
        evaluation.emplace(model, text.held_out,
                           CodecEvaluation::Settings{settings.prefix, settings.followers, settings.exact_first, 3});
        plan_transform();
        plan_rounds();
        plan_judging();
    }

    // --- the transform it starts from -----------------------------------------------------------------------

    void plan_transform() {
        if (part() != CodedPart::hidden) {
            const int64_t batches =
                std::min<int64_t>(kSensitivityBatches, static_cast<int64_t>(text.fit.size()) / kSensitivityBatch);
            require(batches > 0, "the text is too short; give more");
            for (int64_t b = 0; b < batches; ++b)
                plan(counted("measuring what the next token is sensitive to,", static_cast<size_t>(b),
                             static_cast<size_t>(batches)),
                     kGradientCost, [=, this] {
                         const auto first = text.fit.begin() + b * kSensitivityBatch;
                         gradients.add({first, first + kSensitivityBatch}, settings.prefix, settings.exact_first);
                     });
        }
        plan("preparing the transform", 0.1, [this] {
            if (part() != CodedPart::hidden) sensitivity = gradients.finish();
            transform_fit.emplace(model.shared_weights(), transform_settings(), sensitivity);
        });
        for (size_t i = 0; i < text.fit.size(); ++i) {
            plan(counted("running the model on text", i, text.fit.size()), kForwardCost,
                 [=, this] { rows = rows_of({text.run(i)}); });
            plan(counted("moments of text", i, text.fit.size()), kMomentsCost, [=, this] { add_moments(i); });
        }
        const auto calibrating = std::make_shared<std::optional<TransformDecomposition>>();
        TransformDecomposition::Text judged_on{{}, {}, settings.prefix, settings.exact_first};
        for (size_t i = 0; i < text.fit.size() && part() != CodedPart::hidden; ++i)
            if (text.in_sample(i)) judged_on.calibration.push_back(text.fit[i]);
        for (size_t i = 0; i < text.fit.size() && part() == CodedPart::kv; ++i)
            if (!text.in_sample(i) && judged_on.importance.size() < kImportanceSequences)
                judged_on.importance.push_back(text.fit[i]);
        const int64_t count = TransformDecomposition::steps(model.config().layers, settings.codec.group_size, judged_on,
                                                            part() != CodedPart::hidden);
        plan("decomposing groups", 0,
             [=, this] { calibrating->emplace(model, *transform_fit, sensitivity, judged_on, settings.codec.ratio); });
        for (int64_t i = 0; i < count; ++i)
            plan(counted("decomposing and calibrating,", static_cast<size_t>(i), static_cast<size_t>(count)),
                 kCalibrationCost, [calibrating] { (*calibrating)->step(); });
        for (const double multiple : settings.bracket)
            plan("allocating bits", kRateCost,
                 [=, this] { waiting.push_back(transform_fit->codec(settings.codec.ratio * multiple)); });
        plan("allocating bits", kRateCost, [this] { begin_training(); });
    }

    TransformSettings transform_settings() const {
        TransformSettings t;
        t.part = part();
        t.group_size = settings.codec.group_size;
        t.from_token = settings.codec.from_token;
        t.from_below = settings.codec.from_below;
        t.kl_weight = 4 * settings.lambda_kv / settings.lambda_hidden;
        t.label = "transform " + settings.codec.part + " of " + std::to_string(settings.codec.group_size);
        return t;
    }

    StateRows rows_of(const std::vector<std::vector<TokenId>>& ids) const {
        ForwardOptions kept;
        kept.logits = Logits::none;
        return model.forward_batch(ids, kept).rows;
    }

    void add_moments(size_t i) {
        const std::vector<TokenId> ids = text.run(i);
        const CodedRun made = coded_run(model, rows, ids, settings.exact_first);
        transform_fit->add(made);
        if (!text.in_sample(i)) return;
        sample.push_back(made);
        sample.back().tokens =
            std::span(text.fit[i]).subspan(static_cast<size_t>(settings.exact_first), made.tokens.size());
    }

    void begin_training() {
        LearnedCodec::Parts made;
        made.transform = transform_fit->codec(settings.codec.ratio);
        transform_fit.reset();
        waiting.push_back(made.transform);
        LatentNetwork::Shape shape;
        shape.context = learned_context_size(settings.codec, made.transform->features());
        std::vector<std::vector<at::Tensor>> coefficients(made.transform->groups().size());
        for (const CodedRun& one : sample) {
            const TransformCodec::Latent z = made.transform->quantise(one);
            for (size_t g = 0; g < z.exact.size(); ++g) {
                const at::Tensor steps = relative_steps(z.coarser_of(g));
                coefficients[g].push_back(steps.defined() ? z.exact[g] * steps : z.exact[g]);
            }
        }
        for (size_t g = 0; g < coefficients.size(); ++g) {
            shape.deviation.push_back(at::cat(coefficients[g]).square().mean(0).sqrt().clamp_min(0.05));
            std::vector<at::Tensor> all;
            for (const CodedRun& one : sample)
                all.push_back(made.transform->features_of(made.transform->groups()[g], one.rows));
            made.deviation.push_back(at::cat(all).std(0, false).clamp_min(1e-3));
        }
        parts = made;
        const auto network = std::make_shared<LatentNetwork>(settings.codec, shape, settings.seed);
        rounds.emplace(model, made, network, text, settings);
        if (enough) rounds->finish_early();
        if (checkpoint) restore_checkpoint();
    }

    // --- training -------------------------------------------------------------------------------------------

    void plan_rounds() {
        const int64_t batches = settings.sequences_per_round / settings.batch;
        const double round_cost = static_cast<double>(batches) * (kForwardCost * static_cast<double>(settings.batch) +
                                                                  2 * kStepCost + 2 * settings.kl_share * kKlCost);
        rounds_cost = static_cast<double>(settings.rounds) *
                      (round_cost + kLookCost / static_cast<double>(settings.validate_every));
        expect(rounds_cost);
        plan("training", 0, [this] { next_round(); });
    }

    // Planned one at a time, in front of what follows, so that training may end at any of them.
    void next_round() {
        if (rounds->done()) return;
        const std::string stage =
            counted("training: round", static_cast<size_t>(rounds->round()), static_cast<size_t>(settings.rounds));
        std::deque<Step> made;
        for (auto& run : rounds->next_round()) made.push_back({stage, 0, std::move(run)});
        made.push_back({"training", 0, [this] {
                            pass_over(rounds_cost / static_cast<double>(settings.rounds));
                            next_round();
                        }});
        plan_first(std::move(made));
    }

    // --- figures --------------------------------------------------------------------------------------------

    void plan_judging() {
        for (int64_t i = 0; i < evaluation->sequences(); ++i)
            plan(counted("exact run", static_cast<size_t>(i), static_cast<size_t>(evaluation->sequences())), kExactCost,
                 [this] { evaluation->prepare_step(); });
        for (int i = 0; i < kStepTrials; ++i) plan("choosing the step", kStepTrialCost, [this] { try_step(); });
        plan("choosing the step", 0, [this] {
            waiting.push_back(learned);
            sample.clear();
        });
        const auto trials = static_cast<double>(settings.bracket.size() + 2);
        expect(trials * kTrialCost * static_cast<double>(evaluation->sequences()));
        plan("judging", 0, [this] { judge_next(); });
    }

    // Bytes a token that the learned codec takes at that step, on the sample.
    double bytes_at(double step, std::shared_ptr<const LearnedCodec>& made) const {
        LearnedCodec::Parts base = parts;
        base.network = rounds->as_stored();
        base.coders.clear();
        made = LearnedCodec(std::move(base)).at_step(step, name(), sample);
        double bits = 0, tokens = 0;
        for (const CodedRun& one : sample) {
            bits += made->bits(made->quantise(one));
            tokens += static_cast<double>(one.tokens.size());
        }
        return bits / 8 / tokens;
    }

    // Towards the bytes that were asked for, from the step that the networks were trained at.
    void try_step() {
        if (step_found) return;
        if (!learned) rounds->restore_best();
        const double bytes = bytes_at(step, learned),
                     wanted = fp16_bytes(model.config(), part()) / settings.codec.ratio;
        step_found = std::abs(std::log(bytes / wanted)) < 0.004;
        step *= std::pow(bytes / wanted, 0.85);
    }

    std::string name() const {
        const LearnedSettings& c = settings.codec;
        char text[160];
        std::snprintf(text, sizeof text, "%s%s%s %s of %d %gx", c.architecture.c_str(), c.recurrent ? " recurrent" : "",
                      c.quantizer == "vq" ? " vq" : "", c.part.c_str(), static_cast<int>(c.group_size), c.ratio);
        return text;
    }

    void judge_next() {
        if (waiting.empty()) return;
        const auto codec = waiting.front();
        waiting.pop_front();
        auto trial = std::make_shared<CodecTrial>(*evaluation, codec);
        std::deque<Step> made;
        for (int64_t i = 0; i < evaluation->sequences(); ++i)
            made.push_back({"judging " + codec->name(), kTrialCost, [trial] { trial->step(); }});
        made.push_back({"judging " + codec->name(), 0, [this, trial, codec] {
                            judged.push_back({codec, trial->figures()});
                            judge_next();
                        }});
        plan_first(std::move(made));
    }

    double against_transform() const {
        if (judged.empty() || judged.back().codec != learned) return NAN;
        const auto loss = [&](const CodecFigures& f) { return part() == CodedPart::hidden ? f.hidden_fvu : f.kl_nats; };
        std::vector<std::pair<double, double>> points;
        for (const Judged& one : judged)
            if (one.codec != learned) points.emplace_back(one.figures.bytes_per_token, loss(one.figures));
        const CodecFigures& own = judged.back().figures;
        return loss(own) / interpolated(points, own.bytes_per_token);
    }

    // --- checkpoints ----------------------------------------------------------------------------------------

    bool between_rounds() const { return rounds && rounds->between_rounds() && rounds->round() > 0 && !learned; }

    void restore_checkpoint() {
        const TensorFields fields(checkpoint->file, checkpoint->description, "checkpoint", checkpoint->path);
        rounds->load(fields, checkpoint->progress);
        pass_over(rounds_cost * static_cast<double>(rounds->round()) / static_cast<double>(settings.rounds));
        checkpoint.reset();
    }

    struct Checkpoint {
        TensorFile file;
        nlohmann::json description;
        TrainingProgress progress;
        std::string path;
    };

    const Transformer& model;
    const Tokenizer& tokenizer;
    TrainingSettings settings;
    SensitivityFit gradients;
    std::optional<Sensitivity> sensitivity;
    TrainingText text;
    std::optional<CodecEvaluation> evaluation;
    std::optional<TransformFit> transform_fit;
    StateRows rows;
    std::vector<CodedRun> sample;
    LearnedCodec::Parts parts;
    std::optional<TrainingRounds> rounds;
    std::optional<Checkpoint> checkpoint;
    bool enough = false;
    std::deque<std::shared_ptr<const RunCodec>> waiting;
    std::shared_ptr<const LearnedCodec> learned;
    double step = 1;
    bool step_found = false;
    std::vector<Judged> judged;
    double rounds_cost = 0;
};

CodecTraining::CodecTraining(const Transformer& model, const Tokenizer& tokenizer, TrainingSettings settings)
    : impl_(std::make_unique<Impl>(model, tokenizer, std::move(settings))) {}
CodecTraining::~CodecTraining() = default;

void CodecTraining::step() { impl_->run_next(); }

bool CodecTraining::done() const { return impl_->done(); }
double CodecTraining::progress() const { return impl_->progress(); }
std::string CodecTraining::stage() const { return impl_->stage(); }
void CodecTraining::finish_early() {
    impl_->enough = true;
    if (impl_->rounds) impl_->rounds->finish_early();
}
const std::vector<TrainingPoint>& CodecTraining::curve() const {
    static const std::vector<TrainingPoint> none;
    return impl_->rounds ? impl_->rounds->curve() : impl_->checkpoint ? impl_->checkpoint->progress.curve : none;
}
const std::vector<CodecTraining::Judged>& CodecTraining::judged() const { return impl_->judged; }
double CodecTraining::against_transform() const { return impl_->against_transform(); }
std::shared_ptr<const LearnedCodec> CodecTraining::codec() const { return done() ? impl_->learned : nullptr; }
bool CodecTraining::between_rounds() const { return impl_->between_rounds(); }

CodecInfo CodecTraining::info(const CodecFigures& figures) const {
    CodecInfo info;
    info.model_sha256 = impl_->model.weights().sha256();
    info.data_sha256 = impl_->text.sha256;
    for (const auto& ids : impl_->text.fit) info.fitted_tokens += static_cast<int64_t>(ids.size());
    info.seed = impl_->settings.seed;
    info.settings = savepoint::described(impl_->settings);
    info.figures = savepoint::described(figures);
    return info;
}

nlohmann::json CodecTraining::described() const {
    nlohmann::json codecs = nlohmann::json::array(), points = nlohmann::json::array();
    for (const Judged& one : judged()) codecs.push_back(savepoint::described(one.figures));
    for (const TrainingPoint& p : curve()) points.push_back(savepoint::described(p));
    return {{"settings", savepoint::described(impl_->settings)},
            {"fit_sha256", impl_->text.sha256},
            {"held_out_sequences", impl_->evaluation ? impl_->evaluation->sequences() : 0},
            {"curve", points},
            {"codecs", codecs},
            {"against_transform", number_or_null(against_transform())}};
}

void CodecTraining::save_checkpoint(const std::string& path) const {
    require(between_rounds(), "a checkpoint is taken between two rounds");
    TensorFile file;
    impl_->rounds->save(file);
    nlohmann::json description = savepoint::described(impl_->rounds->progress());
    description["settings"] = savepoint::described(impl_->settings);
    description["model_sha256"] = impl_->model.weights().sha256();
    file.metadata = {{"format", "savepoint-training"}, {"training", description.dump()}};
    file.metadata["digest"] = content_digest(file);
    write_safetensors(path, file);
}

void CodecTraining::load_checkpoint(const std::string& path) {
    require(!impl_->rounds, "a checkpoint is loaded before training begins");
    Impl::Checkpoint read{read_safetensors(path), {}, {}, path};
    const auto format = read.file.metadata.find("format"), training = read.file.metadata.find("training");
    if (format == read.file.metadata.end() || format->second != "savepoint-training" ||
        training == read.file.metadata.end())
        throw FileError(path, "is not a checkpoint of a training");
    check_digest(read.file, path);
    read.description = parse_json(training->second, path);
    try {
        if (read.description.at("settings") != savepoint::described(impl_->settings) ||
            read.description.at("model_sha256") != impl_->model.weights().sha256())
            throw FileError(path, "is a checkpoint of other settings or of another model");
        read.progress = training_progress_from(read.description);
    } catch (const nlohmann::json::exception& problem) {
        throw FileError(path, problem.what());
    }
    impl_->checkpoint = std::move(read);
}

}  // namespace savepoint
