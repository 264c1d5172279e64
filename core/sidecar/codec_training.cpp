#include "core/sidecar/codec_training.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <cmath>
#include <deque>
#include <numeric>

#include "core/model/error.h"
#include "core/model/sha256.h"
#include "core/sidecar/coded_run.h"
#include "core/sidecar/fit.h"
#include "core/sidecar/network_trainer.h"
#include "core/sidecar/noise.h"
#include "core/sidecar/sensitivity.h"
#include "core/sidecar/step_queue.h"
#include "core/sidecar/training_record.h"
#include "core/sidecar/transform_decomposition.h"

namespace savepoint {

namespace {

constexpr int64_t kSensitivityBatches = 10, kSensitivityBatch = 3;
constexpr size_t kImportanceSequences = 18;
constexpr int64_t kLookSequences = 4;  // held out of training and of the figures
constexpr size_t kSampledFrom = 40;    // sequences, of which the transform's samples are not trained on: for the
                                       // entropy coders and the step
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
    int64_t length() const { return settings.prefix + settings.followers; }

    // The held-out documents are drawn first; those for looking during training follow those of the figures.
    void read() {
        const Corpus corpus = corpus_named(settings.corpus);
        TokenSplit split = split_corpus(corpus, tokenizer, length(), settings.fit_tokens,
                                        settings.held_out_tokens + kLookSequences * length(), settings.seed);
        fit = std::move(split.fit);
        auto held_out = std::move(split.held_out);
        require(held_out.size() > 1, "the text is too short to hold some of it out; give more");
        const auto looks = std::min<size_t>(kLookSequences, held_out.size() / 2);
        look_ids.assign(held_out.end() - static_cast<ptrdiff_t>(looks), held_out.end());
        held_out.resize(held_out.size() - looks);
        std::string bytes;
        for (const auto& ids : fit)
            bytes.append(reinterpret_cast<const char*>(ids.data()), ids.size() * sizeof(TokenId));
        data_sha256 = sha256_hex(bytes);
        evaluation.emplace(model, std::move(held_out),
                           CodecEvaluation::Settings{settings.prefix, settings.followers, settings.exact_first, 3});
        plan_transform();
        plan_rounds();
        plan_judging();
    }

    // --- the transform it starts from -----------------------------------------------------------------------

    void plan_transform() {
        if (part() != CodedPart::hidden) {
            const int64_t batches =
                std::min<int64_t>(kSensitivityBatches, static_cast<int64_t>(fit.size()) / kSensitivityBatch);
            require(batches > 0, "the text is too short; give more");
            for (int64_t b = 0; b < batches; ++b)
                plan(counted("measuring what the next token is sensitive to,", static_cast<size_t>(b),
                             static_cast<size_t>(batches)),
                     kGradientCost, [=, this] {
                         const auto first = fit.begin() + b * kSensitivityBatch;
                         gradients.add({first, first + kSensitivityBatch}, settings.prefix, settings.exact_first);
                     });
        }
        plan("preparing the transform", 0.1, [this] {
            if (part() != CodedPart::hidden) sensitivity = gradients.finish();
            transform_fit.emplace(model.shared_weights(), transform_settings(), sensitivity);
        });
        for (size_t i = 0; i < fit.size(); ++i) {
            plan(counted("running the model on text", i, fit.size()), kForwardCost,
                 [=, this] { rows = rows_of({run_ids(i)}); });
            plan(counted("moments of text", i, fit.size()), kMomentsCost, [=, this] { add_moments(i); });
        }
        const auto calibrating = std::make_shared<std::optional<TransformDecomposition>>();
        TransformDecomposition::Text text{{}, {}, settings.prefix, settings.exact_first};
        for (size_t i = 0; i < fit.size() && part() != CodedPart::hidden; ++i)
            if (in_sample(i)) text.calibration.push_back(fit[i]);
        for (size_t i = 0; i < fit.size() && part() == CodedPart::kv; ++i)
            if (!in_sample(i) && text.importance.size() < kImportanceSequences) text.importance.push_back(fit[i]);
        const int64_t count = TransformDecomposition::steps(model.config().layers, settings.codec.group_size, text,
                                                            part() != CodedPart::hidden);
        plan("decomposing groups", 0,
             [=, this] { calibrating->emplace(model, *transform_fit, sensitivity, text, settings.codec.ratio); });
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

    TrainingBatch run(std::vector<std::vector<TokenId>> ids) const {
        std::vector<std::vector<TokenId>> prefixes;
        for (const auto& one : ids) prefixes.emplace_back(one.begin(), one.begin() + settings.prefix);
        TrainingBatch batch{std::move(ids), rows_of(prefixes), {}};
        if (const TokenImportance* importance = parts.transform->importance()) {
            std::vector<at::Tensor> coarser;
            for (size_t i = 0; i < prefixes.size(); ++i) {
                const StateRows own = batch.rows.slice(static_cast<int64_t>(i) * settings.prefix, settings.prefix);
                coarser.push_back(importance->coarser(coded_run(model, own, prefixes[i], settings.exact_first)));
            }
            batch.coarser = at::cat(coarser);
        }
        return batch;
    }

    // What the sample holds ends where a saved run would: the bits of a token depend on what is near the end.
    std::vector<TokenId> run_ids(size_t i) const {
        return {fit[i].begin(), fit[i].begin() + (in_sample(i) ? settings.prefix : length())};
    }

    void add_moments(size_t i) {
        const std::vector<TokenId> ids = run_ids(i);
        const CodedRun made = coded_run(model, rows, ids, settings.exact_first);
        transform_fit->add(made);
        if (!in_sample(i)) return;
        sample.push_back(made);
        sample.back().tokens = std::span(fit[i]).subspan(static_cast<size_t>(settings.exact_first), made.tokens.size());
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
        network = std::make_shared<LatentNetwork>(settings.codec, shape, settings.seed);
        trainer.emplace(model, made, network, settings);
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

    bool with_kl() const {
        const auto plain =
            static_cast<int64_t>(std::lround((1 - settings.kl_share) * static_cast<double>(settings.rounds)));
        // Without corrections what is decoded does not depend on the networks, but for where cells end.
        return settings.lambda_kl > 0 && part() != CodedPart::hidden && settings.codec.corrections() && round >= plain;
    }

    size_t active_groups() const {
        const size_t all = parts.transform->groups().size();
        if (network->unified() || round >= settings.progressive_rounds) return all;
        return std::max<size_t>(
            1, all * static_cast<size_t>(round + 1) / static_cast<size_t>(settings.progressive_rounds));
    }

    double learning_rate() const {
        if (round < settings.warmup_rounds)
            return settings.learning_rate * static_cast<double>(round + 1) /
                   static_cast<double>(settings.warmup_rounds);
        const double t = static_cast<double>(round) / static_cast<double>(settings.rounds);
        return settings.learning_rate * (0.05 + 0.95 * 0.5 * (1 + std::cos(M_PI * std::min(t, 1.0))));
    }

    // Rounds are planned one at a time, in front of what follows, so that training may end at any of them.
    void next_round() {
        if (round >= settings.rounds || enough) return;
        std::deque<Step> made;
        const auto batches = static_cast<size_t>(settings.sequences_per_round / settings.batch);
        const std::string stage =
            counted("training: round", static_cast<size_t>(round), static_cast<size_t>(settings.rounds));
        held.clear();
        totals = {};
        total_kl = 0;
        taken = 0;
        if (with_kl() && trainer->kl_scale() == 0) made.push_back({stage, 0, [this] { weigh_kl(); }});
        for (size_t b = 0; b < batches; ++b) made.push_back({stage, 0, [=, this] { hold(b); }});
        for (size_t i = 0; i < 2 * batches; ++i) made.push_back({stage, 0, [=, this] { learn(i % batches, i); }});
        made.push_back({stage, 0, [this] { end_round(); }});
        plan_first(std::move(made));
    }

    // Tables fitted on what a network has learned by heart would expect smaller z than come.
    bool in_sample(size_t i) const { return TransformFit::samples(static_cast<int64_t>(i)) && i < kSampledFrom; }

    // Sequences in an order of their own each time the text has been gone through.
    std::vector<TokenId> sequence(int64_t index) const {
        std::vector<size_t> order;
        for (size_t i = 0; i < fit.size(); ++i)
            if (!in_sample(i)) order.push_back(i);
        const auto count = static_cast<int64_t>(order.size());
        const int64_t turn = index / count;
        for (size_t i = order.size(); i > 1; --i)
            std::swap(order[i - 1], order[mixed({settings.seed, static_cast<uint64_t>(turn), i}) % i]);
        return fit[order[static_cast<size_t>(index % count)]];
    }

    void hold(size_t batch) {
        std::vector<std::vector<TokenId>> ids;
        for (int64_t i = 0; i < settings.batch; ++i)
            ids.push_back(
                sequence(round * settings.sequences_per_round + static_cast<int64_t>(batch) * settings.batch + i));
        held.push_back(run(std::move(ids)));
    }

    double own_share() const {
        return settings.own_share * static_cast<double>(round) / static_cast<double>(settings.rounds);
    }

    void learn(size_t batch, size_t index) {
        const PassCost cost =
            trainer->add_gradient(held[batch], active_groups(), with_kl(), own_share(),
                                  mixed({settings.seed, static_cast<uint64_t>(round), static_cast<uint64_t>(index)}));
        const size_t count = 2 * held.size();
        if ((index + 1) % static_cast<size_t>(settings.accumulate) == 0 || index + 1 == count)
            trainer->step(learning_rate());
        totals.loss += cost.loss;
        totals.distortion += cost.distortion;
        totals.bits += cost.bits;
        total_kl += cost.kl;
        ++taken;
    }

    void end_round() {
        TrainingPoint point;
        point.round = round;
        const auto n = static_cast<double>(taken);
        point.loss = totals.loss / n;
        point.distortion = totals.distortion / n;
        point.rate_bits = totals.bits / n;
        point.kl = total_kl / n;
        point.learning_rate = learning_rate();
        held.clear();
        ++round;
        pass_over(rounds_cost / static_cast<double>(settings.rounds));
        const bool look_now = round % settings.validate_every == 0 || round == settings.rounds;
        if (look_now) look(point);
        curve.push_back(point);
        plan_first({{"training", 0, [this] { next_round(); }}});
    }

    // Mean over the sequences kept for looking.
    PassCost looked() {
        if (look_batches.empty())
            for (const auto& ids : look_ids) look_batches.push_back(run({ids}));
        PassCost mean;
        mean.group_bits.assign(parts.transform->groups().size(), 0);
        const auto n = static_cast<double>(look_batches.size());
        for (const TrainingBatch& batch : look_batches) {
            const PassCost cost = trainer->look(batch);
            mean.distortion += cost.distortion / n;
            mean.bits += cost.bits / n;
            mean.kl += cost.kl / n;
            for (size_t g = 0; g < cost.group_bits.size(); ++g) mean.group_bits[g] += cost.group_bits[g] / n;
        }
        return mean;
    }

    // The KL term comes on with the weight that the squared error has by then.
    void weigh_kl() {
        const PassCost cost = looked();
        trainer->set_kl_scale(cost.distortion / cost.kl);
    }

    void look(TrainingPoint& point) {
        const PassCost mean = looked();
        const double rate = settings.lambda_rate * mean.bits * std::log(2.0);
        point.held_out_loss = mean.distortion + rate;
        point.held_out_bits = mean.bits;
        point.held_out_kl = mean.kl;
        point.group_bits = mean.group_bits;
        point.words_used = trainer->words_used();
        // Held-out KL decides, where there is one: at equal bytes, for it falls with about their square.
        const double judged_by = std::isfinite(mean.kl) ? mean.kl * mean.bits * mean.bits : point.held_out_loss;
        if (judged_by < best_score) {
            best_score = judged_by;
            best = trainer->snapshot();
            worse = 0;
        } else if (++worse >= settings.patience) {
            enough = true;
        }
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
        base.network = trainer->as_stored();
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
        if (!learned && !best.empty()) trainer->restore(best);
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

    bool between_rounds() const { return trainer && held.empty() && !learned && round > 0; }

    nlohmann::json checkpoint_settings() const {
        nlohmann::json points = nlohmann::json::array();
        for (const TrainingPoint& p : curve) points.push_back(savepoint::described(p));
        return {{"settings", savepoint::described(settings)},
                {"model_sha256", model.weights().sha256()},
                {"round", round},
                {"worse", worse},
                {"best_score", number_or_null(best_score)},
                {"curve", points}};
    }

    void restore_checkpoint() {
        const TensorFields fields(checkpoint->file, checkpoint->description, "checkpoint", checkpoint->path);
        trainer->load(fields);
        best.clear();
        if (std::isfinite(number_or_nan(checkpoint->description["best_score"])))
            for (const auto& [key, value] : network->parameters())
                best[key] = fields.tensor("best." + key, value.sizes().vec()).to(at::kFloat);
        pass_over(rounds_cost * static_cast<double>(round) / static_cast<double>(settings.rounds));
        checkpoint.reset();
    }

    struct Checkpoint {
        TensorFile file;
        nlohmann::json description;
        std::string path;
    };

    const Transformer& model;
    const Tokenizer& tokenizer;
    TrainingSettings settings;
    SensitivityFit gradients;
    std::optional<Sensitivity> sensitivity;
    std::vector<std::vector<TokenId>> fit, look_ids;
    std::string data_sha256;
    std::optional<CodecEvaluation> evaluation;
    std::optional<TransformFit> transform_fit;
    StateRows rows;
    std::vector<CodedRun> sample;
    LearnedCodec::Parts parts;
    std::shared_ptr<LatentNetwork> network;
    std::optional<NetworkTrainer> trainer;
    std::optional<Checkpoint> checkpoint;

    int64_t round = 0, taken = 0, worse = 0;
    bool enough = false;
    std::vector<TrainingBatch> held, look_batches;
    PassCost totals;
    double total_kl = 0, best_score = INFINITY;
    Parameters best;
    std::vector<TrainingPoint> curve;

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
void CodecTraining::finish_early() { impl_->enough = true; }
const std::vector<TrainingPoint>& CodecTraining::curve() const { return impl_->curve; }
const std::vector<CodecTraining::Judged>& CodecTraining::judged() const { return impl_->judged; }
double CodecTraining::against_transform() const { return impl_->against_transform(); }
std::shared_ptr<const LearnedCodec> CodecTraining::codec() const { return done() ? impl_->learned : nullptr; }
bool CodecTraining::between_rounds() const { return impl_->between_rounds(); }

CodecInfo CodecTraining::info(const CodecFigures& figures) const {
    CodecInfo info;
    info.model_sha256 = impl_->model.weights().sha256();
    info.data_sha256 = impl_->data_sha256;
    for (const auto& ids : impl_->fit) info.fitted_tokens += static_cast<int64_t>(ids.size());
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
            {"fit_sha256", impl_->data_sha256},
            {"held_out_sequences", impl_->evaluation ? impl_->evaluation->sequences() : 0},
            {"curve", points},
            {"codecs", codecs},
            {"against_transform", number_or_null(against_transform())}};
}

void CodecTraining::save_checkpoint(const std::string& path) const {
    require(between_rounds(), "a checkpoint is taken between two rounds");
    TensorFile file;
    impl_->trainer->save(file);
    for (const auto& [name, value] : impl_->best) file.tensors["best." + name] = value;
    file.metadata = {{"format", "savepoint-training"}, {"training", impl_->checkpoint_settings().dump()}};
    file.metadata["digest"] = content_digest(file);
    write_safetensors(path, file);
}

void CodecTraining::load_checkpoint(const std::string& path) {
    require(!impl_->trainer, "a checkpoint is loaded before training begins");
    Impl::Checkpoint read{read_safetensors(path), {}, path};
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
        impl_->round = read.description.at("round");
        impl_->worse = read.description.at("worse");
        const double best = number_or_nan(read.description.at("best_score"));
        impl_->best_score = std::isnan(best) ? INFINITY : best;
        for (const auto& point : read.description.at("curve")) impl_->curve.push_back(training_point_from(point));
    } catch (const nlohmann::json::exception& problem) {
        throw FileError(path, problem.what());
    }
    impl_->checkpoint = std::move(read);
}

}  // namespace savepoint
