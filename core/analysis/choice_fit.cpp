#include "core/analysis/choice_fit.h"

#include <ATen/ATen.h>

#include <algorithm>

#include "core/analysis/anomaly_tables.h"
#include "core/analysis/attention_capture.h"
#include "core/analysis/hedgehog_training.h"
#include "core/analysis/learned_phi.h"
#include "core/analysis/phi_ranking_settings.h"
#include "core/analysis/reference_sequences.h"
#include "core/model/error.h"

namespace savepoint {

namespace {

// Components of matrix forms are fitted on states of the first texts, at these many positions of each.
constexpr int64_t kComponentTexts = 16, kComponentPositions = 6;
constexpr int64_t kPiece = 32;          // positions of a step
constexpr int64_t kLearningPasses = 2;  // over the text, as far as a ranking's number of texts goes

// Seconds on two processors.
constexpr double kForwardCost = 0.45, kLearningCost = 1, kReadOutCost = 0.02, kStatesCost = 0.15, kSingularCost = 0.6,
                 kFinishCost = 0.5;

std::shared_ptr<const Phi> phi_at_hand(const PhiSettings& settings, const ModelConfig& config,
                                       const std::string& folder, const std::string& model_sha256) {
    if (settings.kind == PhiKind::hedgehog) return usable_learned_phi(folder, settings.rotary, model_sha256);
    return std::make_shared<const Phi>(settings, config.head_dim);
}

}  // namespace

std::vector<int64_t> spread_positions(int64_t tokens, int64_t most) {
    std::vector<int64_t> positions;
    for_each_bucket(positions_from(0, tokens), [&](int64_t, int64_t begin, int64_t end) {
        const int64_t count = std::min(most, end - begin);
        for (int64_t i = 0; i < count; ++i) positions.push_back(begin + (2 * i + 1) * (end - begin) / (2 * count));
    });
    return positions;
}

struct ChoiceFit::Impl : StepQueue {
    Impl(const Transformer& model, const Tokenizer& tokenizer, const AnomalyChoice& choice,
         std::shared_ptr<const Phi> given, FitSettings settings)
        : model(model),
          config(model.config()),
          choice(choice),
          phi(std::move(given)),
          capture(model, choice.phi.rotary),
          text(model, tokenizer, std::move(settings)) {
        if (needs_other(choice.detector))
            throw InputError("anomaly fit: " + to_string(choice.detector) + " wants a second set of texts");
        if (phi) start_fit();
        text.plan(*this, [this] {
            if (!phi) plan_learning();
            plan_all();
        });
    }

    // Of matrix forms once their components are known.
    void start_fit() {
        if (!is_matrix(choice.form)) fit.emplace(config, choice, phi);
    }

    void plan_learning() {
        const auto texts = static_cast<int64_t>(text.fit().size());
        training.emplace(model, choice.phi.rotary,
                         std::min(PhiRankingSettings().hedgehog_steps, kLearningPasses * texts));
        training->plan(*this, text.fit(), kLearningCost);
        plan("keeping phi", 0, [this] {
            phi = training->learned();
            if (keep) keep(*phi, training->texts());
            training.reset();
            start_fit();
        });
    }

    // Of a text: all positions for read-outs, else some of each bucket.
    std::vector<int64_t> wanted(int64_t tokens) const {
        return is_read_out(choice.form) ? positions_from(0, tokens) : spread_positions(tokens, kStatesPerBucket);
    }

    double piece_cost() const {
        if (is_read_out(choice.form)) return kReadOutCost;
        return is_matrix(choice.form) ? kStatesCost : kSingularCost;
    }

    void plan_all() {
        if (is_matrix(choice.form)) plan_components();
        const std::vector<SequenceBatch> batches = batches_of(text.fit());
        const size_t moments = ReferenceSequences::moment_batches(batches.size());
        for (size_t i = 0; i < batches.size(); ++i) {
            if (i == moments) plan("fitting the detector", kFinishCost, [this] { fit->fit_moments(); });
            plan_pass(text.fit(), batches[i], i < moments, counted("pass", i, batches.size()));
        }
        if (moments == batches.size()) plan("fitting the detector", kFinishCost, [this] { fit->fit_moments(); });
        const std::vector<SequenceBatch> held_out = batches_of(text.held_out());
        for (size_t i = 0; i < held_out.size(); ++i)
            plan_pass(text.held_out(), held_out[i], false, counted("calibration pass", i, held_out.size()));
        plan("ranking scores", kFinishCost, [this] { result = fit->finish(); });
    }

    void plan_forward(const Sequences& sequences, const SequenceBatch& batch, const std::string& name) {
        plan("forward " + name, kForwardCost, [this, &sequences, batch] {
            ForwardOptions options;
            options.logits = Logits::none;
            runs = capture.run(sequences_of(sequences, batch), options);
        });
    }

    // The states of a text are taken in pieces, so that no step is long.
    void plan_pass(const Sequences& sequences, const SequenceBatch& batch, bool moments, const std::string& name) {
        plan_forward(sequences, batch, name);
        const auto tokens = static_cast<int64_t>(sequences[batch.first].size());
        for (size_t i = 0; i < batch.count; ++i) {
            for (int64_t first = 0; first < tokens; first += kPiece)
                plan("states of " + name, piece_cost(), [=, this] { read_piece(runs[i], first); });
            plan("states of " + name, 0, [=, this] { take(moments); });
        }
    }

    void read_piece(const AttentionRun& run, int64_t first) {
        if (first == 0) stream = fit->stream();
        const int64_t last = std::min(first + kPiece, run.key.size(0));
        std::vector<int64_t> here;
        for (const int64_t position : wanted(run.key.size(0)))
            if (position >= first && position < last) here.push_back(position - first);
        const FormRows rows = stream.next(run.query.slice(0, first, last), run.key.slice(0, first, last),
                                          run.value.slice(0, first, last), here);
        if (here.empty()) return;
        features.push_back(rows.values);
        for (const int64_t at : here) positions.push_back(first + at);
    }

    void take(bool moments) {
        const at::Tensor all = at::cat(features);
        moments ? fit->add(all, positions) : fit->calibrate(all, positions);
        features.clear();
        positions.clear();
    }

    // From the corpus' first texts: own samples, which come before them, are not drawn as evenly.
    void plan_components() {
        const auto own = static_cast<size_t>(text.settings().own_samples);
        const size_t last = std::min(text.fit().size(), own + static_cast<size_t>(kComponentTexts));
        for (size_t i = own; i < last; ++i) {
            const std::string name = counted("pass for components", i - own, last - own);
            plan_forward(text.fit(), {i, 1}, name);
            plan("states of " + name, kStatesCost, [this] { read_matrices(); });
        }
        plan("fitting components", 4 * kFinishCost, [this] { fit_matrices(); });
    }

    void read_matrices() {
        const AttentionRun& run = runs.front();
        const int64_t tokens = run.key.size(0);
        std::vector<int64_t> at;
        for (int64_t i = 1; i <= kComponentPositions; ++i) at.push_back(i * tokens / kComponentPositions - 1);
        const FormRows rows = FormStream(phi, choice.form).next(run.query, run.key, run.value, at);
        features.push_back(rows.values.flatten(1, 2));
    }

    void fit_matrices() {
        fit.emplace(config, choice, phi, std::make_shared<const MatrixComponents>(fit_components(at::cat(features))));
        features.clear();
    }

    const Transformer& model;
    ModelConfig config;
    AnomalyChoice choice;
    std::shared_ptr<const Phi> phi;
    AttentionCapture capture;
    ReferenceSequences text;
    std::optional<HedgehogTraining> training;
    std::function<void(const Phi& learned, int64_t texts)> keep;
    std::vector<AttentionRun> runs;  // of the last pass
    FormStream stream;
    std::vector<at::Tensor> features;  // of the text at hand
    std::vector<int64_t> positions;
    std::optional<AnomalyFit> fit;
    std::shared_ptr<const AnomalyReference> result;
};

ChoiceFit::ChoiceFit(const Transformer& model, const Tokenizer& tokenizer, const AnomalyChoice& choice,
                     std::shared_ptr<const Phi> phi, FitSettings text)
    : impl_(std::make_unique<Impl>(model, tokenizer, choice, std::move(phi), std::move(text))) {}

ChoiceFit::ChoiceFit(const Transformer& model, const Tokenizer& tokenizer, const AnomalyChoice& choice,
                     const std::string& folder, const std::string& model_sha256, FitSettings text)
    : ChoiceFit(model, tokenizer, choice, phi_at_hand(choice.phi, model.config(), folder, model_sha256),
                std::move(text)) {
    if (folder.empty()) return;
    impl_->keep = [folder, model_sha256](const Phi& learned, int64_t texts) {
        keep_learned_phi(folder, learned, texts, model_sha256);
    };
}

ChoiceFit::~ChoiceFit() = default;

void ChoiceFit::step() { impl_->run_next(); }

bool ChoiceFit::done() const { return impl_->done(); }

double ChoiceFit::progress() const { return impl_->progress(); }

std::string ChoiceFit::stage() const { return impl_->stage(); }

std::shared_ptr<const AnomalyReference> ChoiceFit::result() const {
    if (!done()) throw InputError("anomaly fit: has not finished yet");
    return impl_->result;
}

}  // namespace savepoint
