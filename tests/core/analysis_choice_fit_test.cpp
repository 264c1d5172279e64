// References of other choices: fitted on the sidecar's text, stored by their choice; a learned phi is learned on the
// way.

#include <ATen/ATen.h>

#include <fstream>

#include "core/analysis/choice_fit.h"
#include "core/analysis/hedgehog_fit.h"
#include "core/analysis/learned_phi.h"
#include "core/analysis/reference_sequences.h"
#include "core/model/error.h"
#include "tests/core/sidecar_fixture.h"

using namespace savepoint;
using namespace savepoint::testing;

namespace {

FitSettings small_text() {
    FitSettings text;
    text.sequence_length = 64;
    text.fit_tokens = 64 * 16;
    text.calibration_tokens = 64 * 6;
    text.own_samples = 0;
    return text;
}

std::shared_ptr<const AnomalyReference> fitted(const AnomalyChoice& choice) {
    ChoiceFit fit(shared_model(), shared_tokenizer(), choice,
                  std::make_shared<const Phi>(choice.phi, shared_model().config().head_dim), small_text());
    double progress = -1;
    while (!fit.done()) {
        CHECK(fit.progress() >= progress);
        progress = fit.progress();
        CHECK_FALSE(fit.stage().empty());
        fit.step();
    }
    return fit.result();
}

}  // namespace

TEST_CASE("a reference of other choices is fitted, stored by its choice, and scores the model's own states") {
    const AnomalyChoice choice{{.kind = PhiKind::relu, .rotary = true}, StateForm::rows, DetectorKind::knn};
    const auto reference = fitted(choice);
    CHECK(reference->choice() == choice);
    CHECK(reference->units() == 3);
    CHECK(reference->width() == kMatrixComponents + 1);
    const std::vector<TokenId> ids = first_ids(24);
    AttentionCapture capture(shared_model(), true);
    const AttentionRun run = capture.run({ids}).front();
    FormStream stream = reference->stream();
    const FormRows features = stream.next(run.query, run.key, run.value);
    const AnomalyScores scores = reference->score(features.values, 0);
    CHECK(scores.distance.sizes() == at::IntArrayRef({24, 30, 3}));
    CHECK(scores.distance.isfinite().all().item<bool>());

    TemporaryFolder folder("choice");
    const std::string home = folder.file("home");
    CHECK_FALSE(load_reference(home, choice, "model", "sidecar"));
    save_reference(home, *reference, "model", "sidecar");
    const auto loaded = load_reference(home, choice, "model", "sidecar");
    REQUIRE(loaded);
    FormStream again = loaded->stream();
    CHECK(at::equal(loaded->score(again.next(run.query, run.key, run.value).values, 0).distance, scores.distance));
    CHECK_FALSE(load_reference(home, choice, "model", "another sidecar"));
    CHECK_FALSE(load_reference(home, {}, "model", "sidecar"));
    CHECK_THROWS_AS(load_reference(home, choice, "another model", "sidecar"), FileError);
    CHECK_THROWS_AS(ChoiceFit(shared_model(), shared_tokenizer(), {.detector = DetectorKind::relative_mahalanobis},
                              reference->phi(), small_text()),
                    InputError);
}

TEST_CASE("a choice of a learned phi: learned first from the reference text, kept, and found there the next time") {
    const AnomalyChoice choice{{.kind = PhiKind::hedgehog}, StateForm::read_out, DetectorKind::mahalanobis};
    FitSettings settings = small_text();
    settings.fit_tokens = 64 * 4;
    TemporaryFolder folder("learned-choice");
    const std::string home = folder.file("home");
    const auto run = [&](const std::string& in) {
        ChoiceFit fit(shared_model(), shared_tokenizer(), choice, in, "model", settings);
        std::pair<std::vector<std::string>, std::shared_ptr<const AnomalyReference>> out;
        double progress = -1;
        for (; !fit.done(); fit.step()) {
            CHECK(fit.progress() >= progress);
            progress = fit.progress();
            if (fit.stage().starts_with("learning phi, ")) out.first.push_back(fit.stage());
        }
        out.second = fit.result();
        return out;
    };
    const auto [stages, reference] = run(home);
    REQUIRE(stages.size() == 8);  // two passes
    CHECK(stages[6] == "learning phi, text 7 of 8");

    // The same by hand.
    StepQueue queue;
    ReferenceSequences text(shared_model(), shared_tokenizer(), settings);
    text.plan(queue, [] {});
    while (!queue.done()) queue.run_next();
    HedgehogFit by_hand(shared_model().config(), {.kind = PhiKind::hedgehog});
    AttentionCapture capture(shared_model(), false);
    for (int i = 0; i < 8; ++i) by_hand.step(capture.run({text.fit()[static_cast<size_t>(i % 4)]}).front());
    const auto kept = load_learned_phi(home, false, "model");
    REQUIRE(kept);
    CHECK(at::allclose(kept->key_maps(), by_hand.finish().key_maps(), 1e-4, 1e-5));
    CHECK(at::equal(reference->phi()->key_maps(), kept->key_maps()));

    // One that has learned from more is used as it is; a damaged one is replaced.
    const Phi more = Phi::hedgehog(kept->settings(), kept->query_maps() * 2, kept->key_maps() * 2);
    CHECK(keep_learned_phi(home, more, 200, "model"));
    const auto again = run(home);
    CHECK(again.first.empty());
    CHECK(at::equal(again.second->phi()->key_maps(), more.key_maps()));
    std::ofstream(home + "/hedgehog.safetensors") << "damaged";
    CHECK(run(home).first.size() == 8);
    CHECK(at::equal(load_learned_phi(home, false, "model")->key_maps(), kept->key_maps()));
}
