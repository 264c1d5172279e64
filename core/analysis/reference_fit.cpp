#include "core/analysis/reference_fit.h"

#include <ATen/ATen.h>

#include <algorithm>

#include "core/analysis/fit_figures.h"
#include "core/analysis/reference_sequences.h"
#include "core/model/error.h"
#include "core/sidecar/step_queue.h"
#include "core/state/safetensors.h"

namespace savepoint {

namespace {

constexpr int64_t kResumedSequences = 4, kResumedPrefix = 128, kResumedTokens = 64;

// What steps cost beside each other, for the progress bar: seconds on two processors.
constexpr double kForwardCost = 0.45, kMomentsCost = 0.07, kReadOutCost = 0.04, kMeasuringCost = 0.1,
                 kDecompositionCost = 1, kResumeCost = 1, kFinishCost = 0.5;
// The same of a joint fit.
constexpr double kJointMomentsCost = 0.1, kGradientCost = 1.1, kJointDecompositionCost = 0.8, kTrialCost = 0.5;
constexpr size_t kGradientBatch = 2, kMostTrials = 12;

nlohmann::json described(const PcaSettings& pca) {
    return {{"group_size", pca.group_size},
            {"hidden_components", pca.hidden_components},
            {"key_components", pca.key_components},
            {"value_components", pca.value_components},
            {"bits", pca.bits},
            {"exact_first_tokens", pca.exact_first_tokens},
            {"hidden_stride", pca.hidden_stride}};
}

nlohmann::json described(const JointSettings& joint) {
    return {{"group_size", joint.group_size},
            {"ratio", joint.ratio},
            {"kl_weight", joint.kl_weight},
            {"max_components", joint.max_components},
            {"gradient_sequences", joint.gradient_sequences},
            {"exact_first_tokens", joint.exact_first_tokens}};
}

std::string ids_sha256(const Sequences& sequences) {
    std::string bytes;
    for (const auto& ids : sequences)
        bytes.append(reinterpret_cast<const char*>(ids.data()), ids.size() * sizeof(TokenId));
    return sha256_hex(bytes);
}

AnomalyChoice read_out_of(PhiKind kind) {
    AnomalyChoice choice;
    choice.phi.kind = kind;
    return choice;
}

}  // namespace

struct ReferenceFit::Impl : StepQueue {
    Impl(const Transformer& model, const Tokenizer& tokenizer, FitSettings asked)
        : model(model),
          identity(model.config(), read_out_of(PhiKind::identity)),
          elu1(model.config(), read_out_of(PhiKind::elu1)),
          text(model, tokenizer, std::move(asked)) {
        if (text.settings().form == SidecarForm::joint)
            joint.emplace(model, text.settings().joint, text.settings().seed);
        else
            pca.emplace(model.config(), text.settings().pca);
        hook_queries();
        text.plan(*this, [this] { plan_all(); });
    }

    void hook_queries() {
        queries.resize(static_cast<size_t>(model.config().layers));
        for (size_t layer = 0; layer < queries.size(); ++layer) {
            hooks.read("blocks." + std::to_string(layer) + ".attn.hook_q",
                       [this, layer](const at::Tensor& q) { queries[layer] = q.to(at::kCPU).flatten(0, 1); });
        }
    }

    // Everything that follows is planned here at once, so that progress never steps back.
    void plan_all() {
        plan_fit();
        plan_calibration();
        plan_resuming();
        plan("writing down the figures", kFinishCost, [this] { finish(); });
    }

    // All of it goes into the codecs.
    void plan_fit() {
        const std::vector<SequenceBatch> batches = batches_of(text.fit());
        const size_t moments = ReferenceSequences::moment_batches(batches.size());
        for (size_t i = 0; i < batches.size(); ++i) {
            const SequenceBatch batch = batches[i];
            if (i == moments) plan("shrinking covariances", kFinishCost, [this] { finish_moments(); });
            plan(counted("forward pass", i, batches.size()), kForwardCost, [=, this] { forward(text.fit(), batch); });
            plan(counted("moments of pass", i, batches.size()), joint ? kJointMomentsCost : kMomentsCost,
                 [=, this] { add_moments(sequences_of(text.fit(), batch)); });
            for (AnomalyFit* anomaly : {&identity, &elu1}) {
                plan(counted("read-outs of pass", i, batches.size()), kReadOutCost, [=, this] {
                    each_read_out(*anomaly, [&](const at::Tensor& rows) {
                        i < moments ? anomaly->add(rows) : anomaly->calibrate(rows);
                    });
                });
            }
        }
        if (moments == batches.size()) plan("shrinking covariances", kFinishCost, [this] { finish_moments(); });
        joint ? plan_joint() : plan_pca();
    }

    void plan_pca() {
        const auto groups = static_cast<size_t>(pca->parts()) - 2;
        for (size_t part = 0; part < groups + 2; ++part) {
            const std::string stage = part < groups    ? counted("decomposing group", part, groups)
                                      : part == groups ? "decomposing keys"
                                                       : "decomposing values";
            plan(stage, kDecompositionCost, [=, this] { pca->decompose(static_cast<int64_t>(part)); });
        }
        plan("putting the sidecar together", kFinishCost, [this] {
            codecs = pca->finish();
            sidecar = described_sidecar();
        });
    }

    void plan_joint() {
        const std::vector<size_t> chosen = gradient_sequences();
        const size_t batches = chosen.size() / kGradientBatch;
        for (size_t i = 0; i < batches; ++i) {
            plan(counted("gradients of pass", i, batches), kGradientCost, [=, this] {
                Sequences together;
                for (size_t k = 0; k < kGradientBatch; ++k)
                    together.push_back(text.fit()[chosen[i * kGradientBatch + k]]);
                joint->add_gradients(together, static_cast<int64_t>(together.front().size()) * 2 / 3);
            });
        }
        const auto groups = static_cast<size_t>(joint->groups());
        for (size_t group = 0; group < groups; ++group)
            plan(counted("decomposing group", group, groups), kJointDecompositionCost,
                 [=, this] { joint->decompose(static_cast<int64_t>(group)); });
        // Planned for as many trials as there may be; those that are not needed take no time.
        for (size_t i = 0; i < kMostTrials; ++i)
            plan("finding the step of the rate", kTrialCost, [this] { joint->search_step(); });
        plan("putting the sidecar together", kFinishCost, [this] {
            joint_codec = joint->finish();
            sidecar = described_sidecar();
        });
    }

    // Of the fit's longest ones, spread evenly over them.
    std::vector<size_t> gradient_sequences() const {
        std::vector<size_t> longest;
        for (size_t i = 0; i < text.fit().size(); ++i)
            if (static_cast<int64_t>(text.fit()[i].size()) == text.settings().sequence_length) longest.push_back(i);
        const size_t count = std::min(longest.size(), static_cast<size_t>(text.settings().joint.gradient_sequences));
        std::vector<size_t> chosen;
        for (size_t i = 0; i < count; ++i) chosen.push_back(longest[i * longest.size() / count]);
        return chosen;
    }

    void plan_calibration() {
        const std::vector<SequenceBatch> batches = batches_of(text.held_out());
        for (size_t i = 0; i < batches.size(); ++i) {
            const SequenceBatch batch = batches[i];
            plan(counted("calibration pass", i, batches.size()), kForwardCost,
                 [=, this] { forward(text.held_out(), batch); });
            for (AnomalyFit* anomaly : {&identity, &elu1}) {
                plan(counted("calibrating on pass", i, batches.size()), kReadOutCost,
                     [=, this] { each_read_out(*anomaly, [&](const at::Tensor& rows) { anomaly->calibrate(rows); }); });
            }
            // Every second pass: figures need fewer tokens than quantiles.
            if (i % 2 == 0)
                plan(counted("measuring pass", i, batches.size()), kMeasuringCost,
                     [=, this] { measure(sequences_of(text.held_out(), batch)); });
        }
    }

    void plan_resuming() {
        const auto wanted = static_cast<size_t>(kResumedPrefix + kResumedTokens);
        const Sequences& held_out = text.held_out();
        size_t planned_sequences = 0;
        for (size_t i = 0; i < held_out.size() && planned_sequences < kResumedSequences; ++i) {
            if (held_out[i].size() < wanted) continue;
            ++planned_sequences;
            plan("resuming from decoded states, " + std::to_string(planned_sequences), kResumeCost, [=, this] {
                const std::vector<TokenId>& ids = text.held_out()[i];
                const std::vector<TokenId> tokens(ids.begin(), ids.begin() + static_cast<ptrdiff_t>(wanted));
                figures.add(resume_fidelity(model, *sidecar, tokens, kResumedPrefix));
            });
        }
    }

    void forward(const Sequences& sequences, const SequenceBatch& batch) {
        ForwardOptions options;
        options.logits = Logits::none;
        options.hooks = &hooks;
        const Sequences together = sequences_of(sequences, batch);
        rows = model.forward_batch(together, options).rows;
        query = at::stack(queries, 1);
        length = static_cast<int64_t>(together.front().size());
    }

    template <typename Take>
    void each_read_out(const AnomalyFit& anomaly, const Take& take) {
        for (int64_t from = 0; from < rows.tokens(); from += length) {
            const StateRows one = rows.slice(from, length);
            take(anomaly.stream().next(query.slice(0, from, from + length), one.key, one.value).values);
        }
    }

    void add_moments(const Sequences& sequences) {
        const int64_t first = std::min(text.settings().exact_first_tokens(), length);
        for (size_t i = 0; i < sequences.size(); ++i) {
            const StateRows one = rows.slice(static_cast<int64_t>(i) * length + first, length - first);
            if (joint)
                joint->add({one, std::span(sequences[i]).subspan(static_cast<size_t>(first)), first});
            else
                pca->add(one);
        }
    }

    void measure(const Sequences& sequences) {
        for (size_t i = 0; i < sequences.size(); ++i)
            figures.add(
                reconstruction_error(*sidecar, rows.slice(static_cast<int64_t>(i) * length, length), sequences[i]));
    }

    void finish_moments() {
        identity.fit_moments();
        elu1.fit_moments();
    }

    std::shared_ptr<const Sidecar> described_sidecar() const {
        const FitSettings& settings = text.settings();
        SidecarInfo info;
        info.model_sha256 = model.weights().sha256();
        info.data_sha256 = ids_sha256(text.fit());
        info.fitted_tokens = joint ? joint->tokens() : pca->tokens();
        info.seed = settings.seed;
        info.exact_first_tokens = settings.exact_first_tokens();
        info.settings = {{"corpus", settings.corpus},
                         {"sequence_length", settings.sequence_length},
                         {"fit_tokens", settings.fit_tokens},
                         {"calibration_tokens", settings.calibration_tokens},
                         {"own_samples", settings.own_samples},
                         {"own_sample_length", settings.own_sample_length},
                         {"seed", settings.seed}};
        if (joint)
            info.settings["joint"] = described(settings.joint);
        else
            info.settings["pca"] = described(settings.pca);
        info.figures = figures.described();
        if (joint) return std::make_shared<Sidecar>(joint_codec, std::move(info));
        return std::make_shared<Sidecar>(codecs.hidden, codecs.kv, std::move(info));
    }

    void finish() { result = {described_sidecar(), identity.finish(), elu1.finish()}; }

    const Transformer& model;
    std::optional<PcaFit> pca;
    std::optional<JointFit> joint;
    AnomalyFit identity, elu1;
    ReferenceSequences text;
    Hooks hooks;

    std::vector<at::Tensor> queries;  // of the last pass, by layer
    at::Tensor query;                 // [tokens, layers, heads, head_dim]
    StateRows rows;
    int64_t length = 0;  // tokens of each of its sequences

    PcaFit::Codecs codecs;
    std::shared_ptr<const JointCodec> joint_codec;
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
