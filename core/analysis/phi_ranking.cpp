#include "core/analysis/phi_ranking.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <deque>
#include <functional>
#include <map>
#include <optional>

#include "core/analysis/attention_capture.h"
#include "core/analysis/hedgehog_training.h"
#include "core/analysis/learned_phi.h"
#include "core/analysis/phi_state.h"
#include "core/model/error.h"
#include "core/sidecar/fit.h"
#include "core/sidecar/reference_text.h"
#include "core/sidecar/step_queue.h"

namespace savepoint {

namespace {

constexpr double kLearningCost = 2;  // of a text; comparing all feature maps on one costs 3.4

TokenSplit text_of(const Tokenizer& tokenizer, const PhiRankingSettings& s) {
    const Corpus corpus = corpus_named(s.corpus);
    TokenSplit split = split_corpus(corpus, tokenizer, s.sequence_length, s.fit_tokens, s.held_out_tokens, s.seed);
    lay_out_as_reference_text(tokenizer, split.fit);
    lay_out_as_reference_text(tokenizer, split.held_out);
    return split;
}

// Sums of one phi over sequences: [layers], float64.
struct Sums {
    at::Tensor error, length, cosine;
    int64_t tokens = 0, masked = 0, read = 0;

    void add(const PhiReadOut& out, const at::Tensor& z, int64_t first) {
        const at::Tensor a = out.values.slice(0, first).to(at::kDouble), b = z.slice(0, first).to(at::kDouble);
        const at::Tensor errors = (a - b).square().sum({0, 2, 3}), lengths = b.square().sum({0, 2, 3});
        const at::Tensor norms = (a.norm(2, -1) * b.norm(2, -1)).clamp_min(1e-30);
        const at::Tensor cosines = ((a * b).sum(-1) / norms).mean(2).sum(0);
        error = error.defined() ? error + errors : errors;
        length = length.defined() ? length + lengths : lengths;
        cosine = cosine.defined() ? cosine + cosines : cosines;
        tokens += a.size(0);
        masked += out.masked.sum().item<int64_t>();
        read += out.values.numel() / out.values.size(-1);
    }
};

std::vector<double> to_vector(const at::Tensor& x) {
    const at::Tensor plain = x.to(at::kDouble).contiguous();
    return {plain.data_ptr<double>(), plain.data_ptr<double>() + plain.numel()};
}

PhiFidelity fidelity(const Phi& phi, const Sums& sums) {
    PhiFidelity out;
    out.kind = phi.settings().kind;
    out.rotary = phi.settings().rotary;
    out.features = phi.features();
    out.tokens = sums.tokens;
    const at::Tensor error = (sums.error / sums.length.clamp_min(1e-30)).sqrt();
    const at::Tensor cosine = sums.cosine / static_cast<double>(std::max<int64_t>(sums.tokens, 1));
    out.layer_error = to_vector(error);
    out.layer_cosine = to_vector(cosine);
    out.relative_error = error.mean().item<double>();
    out.cosine = cosine.mean().item<double>();
    out.masked = static_cast<double>(sums.masked) / static_cast<double>(std::max<int64_t>(sums.read, 1));
    return out;
}

nlohmann::json to_json(const PhiFidelity& f) {
    return {{"phi", to_string(f.kind)},
            {"rotary", f.rotary},
            {"features", f.features},
            {"tokens", f.tokens},
            {"relative_error", f.relative_error},
            {"cosine", f.cosine},
            {"masked", f.masked},
            {"relative_error_by_layer", f.layer_error},
            {"cosine_by_layer", f.layer_cosine}};
}

}  // namespace

struct PhiRanking::Impl : StepQueue {
    Impl(const Transformer& model, const Tokenizer& tokenizer, PhiRankingSettings asked)
        : model(model), tokenizer(tokenizer), settings(std::move(asked)) {
        if (settings.sequence_length <= settings.first) throw InputError("phi: sequences are too short to compare on");
        plan("reading " + settings.corpus, 1, [this] { read(); });
    }

    bool wants_hedgehog() const {
        return std::find(settings.kinds.begin(), settings.kinds.end(), PhiKind::hedgehog) != settings.kinds.end();
    }

    void read() {
        split = text_of(tokenizer, settings);
        for (const int rotary : settings.rotary) {
            if (wants_hedgehog()) {
                const auto [entry, made] =
                    training.try_emplace(rotary != 0, model, rotary != 0, settings.hedgehog_steps);
                if (made) entry->second.plan(*this, split.fit, kLearningCost);
            }
            plan("feature maps", 0.1, [this, rotary] { make_maps(rotary != 0); });
            for (size_t i = 0; i < split.held_out.size(); ++i)
                plan("comparing on text " + std::to_string(i + 1) + " of " + std::to_string(split.held_out.size()),
                     1 + 0.3 * static_cast<double>(settings.kinds.size()), [this, i] { compare(i); });
        }
    }

    void make_maps(bool rotary) {
        capture.emplace(model, rotary);
        maps.clear();
        sums.clear();
        for (const PhiKind kind : settings.kinds) {
            PhiSettings phi;
            phi.kind = kind;
            phi.rotary = rotary;
            phi.favor_features = settings.favor_features;
            phi.favor_seed = settings.seed;
            phi.dpfp_nu = settings.dpfp_nu;
            maps.push_back(kind == PhiKind::hedgehog ? training.at(rotary).learned()
                                                     : std::make_shared<const Phi>(phi, model.config().head_dim));
        }
        sums.resize(maps.size());
    }

    void compare(size_t sequence) {
        ForwardOptions options;
        options.logits = Logits::none;
        options.capture = false;
        const AttentionRun run = capture->run({split.held_out[sequence]}, options).front();
        for (size_t i = 0; i < maps.size(); ++i)
            sums[i].add(read_out(*maps[i], run.query, run.key, run.value), run.z, settings.first);
        if (sequence + 1 < split.held_out.size()) return;
        found = so_far();
        maps.clear();
    }

    std::vector<PhiFidelity> so_far() const {
        std::vector<PhiFidelity> all = found;
        for (size_t i = 0; i < maps.size(); ++i)
            if (sums[i].tokens > 0) all.push_back(fidelity(*maps[i], sums[i]));
        return all;
    }

    const Transformer& model;
    const Tokenizer& tokenizer;
    PhiRankingSettings settings;
    TokenSplit split;
    std::optional<AttentionCapture> capture;
    std::map<bool, HedgehogTraining> training;  // by rotary
    std::vector<std::shared_ptr<const Phi>> maps;
    std::vector<Sums> sums;
    std::vector<PhiFidelity> found;
};

PhiRanking::PhiRanking(const Transformer& model, const Tokenizer& tokenizer, PhiRankingSettings settings)
    : impl_(std::make_unique<Impl>(model, tokenizer, std::move(settings))) {}

PhiRanking::~PhiRanking() = default;

void PhiRanking::step() { impl_->run_next(); }

bool PhiRanking::done() const { return impl_->done(); }

double PhiRanking::progress() const { return impl_->progress(); }

std::string PhiRanking::stage() const { return impl_->stage(); }

std::vector<PhiFidelity> PhiRanking::ranked() const {
    std::vector<PhiFidelity> out = impl_->so_far();
    std::stable_sort(out.begin(), out.end(),
                     [](const PhiFidelity& a, const PhiFidelity& b) { return a.relative_error < b.relative_error; });
    return out;
}

const PhiRankingSettings& PhiRanking::settings() const { return impl_->settings; }

nlohmann::json PhiRanking::described() const {
    const PhiRankingSettings& s = impl_->settings;
    nlohmann::json rows = nlohmann::json::array();
    for (const PhiFidelity& one : ranked()) rows.push_back(to_json(one));
    return {{"settings",
             {{"corpus", s.corpus},
              {"sequence_length", s.sequence_length},
              {"held_out_tokens", s.held_out_tokens},
              {"first", s.first},
              {"hedgehog_steps", s.hedgehog_steps},
              {"fit_tokens", s.fit_tokens},
              {"favor_features", s.favor_features},
              {"dpfp_nu", s.dpfp_nu},
              {"seed", s.seed}}},
            {"text_sha256", impl_->split.sha256},
            {"phi", rows}};
}

std::shared_ptr<const Phi> PhiRanking::hedgehog(bool rotary) const {
    const auto found = impl_->training.find(rotary);
    return found == impl_->training.end() ? nullptr : found->second.learned();
}

void keep_learned(const PhiRanking& ranking, const std::string& folder, const std::string& model_sha256) {
    for (const bool rotary : {false, true})
        if (const auto learned = ranking.hedgehog(rotary))
            keep_learned_phi(folder, *learned, ranking.settings().hedgehog_steps, model_sha256);
}

std::vector<std::vector<TokenId>> hedgehog_texts(const Tokenizer& tokenizer, const PhiRankingSettings& settings) {
    return text_of(tokenizer, settings).fit;
}

}  // namespace savepoint
