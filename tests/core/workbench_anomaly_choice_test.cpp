// Anomaly scores of other choices: their references are fitted when asked, kept, and then used by all that shows
// scores.

#include <ATen/ATen.h>

#include "core/workbench/attended_rows.h"
#include "workbench_fixture.h"

using namespace savepoint;
using namespace savepoint::test;

namespace {

const AnomalyChoice kOther{{.kind = PhiKind::relu}, StateForm::rows, DetectorKind::knn};

// A folder of its own with the kept sidecar in it, so that no other test finds what is fitted here.
WorkbenchOptions options_in(const TemporaryFolder& folder) {
    Bench::shared();  // fits the sidecar where it was not kept
    WorkbenchOptions options = small_options();
    std::filesystem::create_directories(folder.file("data"));
    for (const auto& model : std::filesystem::directory_iterator(kept_data_folder())) {
        const auto to = std::filesystem::path(folder.file("data")) / model.path().filename();
        std::filesystem::create_directories(to);
        for (const char* name : {"sidecar.safetensors", "reference.safetensors"})
            std::filesystem::copy_file(model.path() / name, to / name);
    }
    options.data_folder = folder.file("data");
    return options;
}

void check_scored(const Snapshot& s, const AnomalyChoice& choice) {
    REQUIRE(s.anomaly);
    CHECK(s.anomaly_choice == choice);
    CHECK(s.anomaly->choice == choice);
    CHECK(s.anomaly->scored == static_cast<int64_t>(s.path->tokens.size()));
    for (const auto& token : s.path->tokens) {
        CHECK(token->anomaly == s.anomaly->token_percentile[static_cast<size_t>(token->position)]);
        CHECK(std::isfinite(token->anomaly));
    }
}

}  // namespace

TEST_CASE("a choice without a reference is fitted on demand, used everywhere, kept, and comes back with the session") {
    const TemporaryFolder folder("anomaly-choice");
    const auto bench = Bench::ready(options_in(folder));
    const ThoughtId root = bench->after(raw("The sea is blue, because the water", greedy(8)), true)->current;
    const auto before = bench->after(command::SetAnomalyChoice{kOther}, true);
    CHECK(before->reference->state == ReferenceView::State::absent);
    CHECK(before->reference->choice == kOther);
    check_scored(*before, {});  // what is in use stays

    bench->send(command::FitReference{});
    REQUIRE(bench->wait_for([](const Snapshot& s) {
        return s.reference->state == ReferenceView::State::fitting && !s.reference->stage.empty();
    }));
    for (const JobView& job : *bench->now()->jobs)
        if (job.name == "Fitting the anomaly reference") bench->send(command::CancelJob{job.id});
    bench->settle();
    CHECK(bench->now()->reference->state == ReferenceView::State::absent);
    check_scored(*bench->now(), {});

    auto shown = bench->after(command::FitReference{}, true);
    REQUIRE_MESSAGE(shown->errors.empty(), errors_of(*shown));
    CHECK(shown->reference->state == ReferenceView::State::ready);
    CHECK(shown->reference->fitted_tokens > 0);
    check_scored(*shown, kOther);
    CHECK(shown->anomaly->heads == 3);  // KV heads
    CHECK(shown->anomaly->token_percentile != before->anomaly->token_percentile);
    // relu's features that no key has met have vanishing denominators.
    CHECK(shown->anomaly->masked > 0);

    // Live: scores come while tokens do, and a branch goes on from its parent's state.
    bench->send(command::Continue{root, greedy(100)});
    CHECK(bench->wait_for([](const Snapshot& s) {
        return s.status.generating && s.anomaly && s.anomaly->choice == kOther && s.anomaly->scored > 24;
    }));
    bench->send(command::Stop{});
    bench->settle();
    check_scored(*bench->now(), kOther);
    const std::string csv = folder.file("anomaly.csv");
    bench->after(command::Export{"anomaly.csv", csv}, true);
    CHECK(lines_of(csv) == 1 + bench->now()->path->tokens.size() * 30 * 3);

    const auto scores = bench->now()->anomaly->token_percentile;
    bench->after(command::SaveSession{folder.file("a.savepoint"), "{}"}, true);
    shown = bench->after(command::SetAnomalyChoice{}, true);
    check_scored(*shown, {});

    const TemporaryFolder elsewhere("anomaly-choice-2");
    const auto later = Bench::ready(options_in(elsewhere));
    later->after(command::OpenSession{folder.file("a.savepoint")}, true);
    CHECK(later->now()->reference->state == ReferenceView::State::absent);  // not fitted there
    CHECK(later->now()->reference->choice == kOther);
    check_scored(*later->now(), {});
    shown = bench->after(command::OpenSession{folder.file("a.savepoint")}, true);
    check_scored(*shown, kOther);
    CHECK(shown->anomaly->token_percentile == scores);

    bench->after(command::SetAnomalyChoice{{.detector = DetectorKind::relative_mahalanobis}}, true);
    CHECK(errors_of(*bench->now()).find("second set") != std::string::npos);
}

TEST_CASE("fresh queries: the newest of one thought, without gaps") {
    FreshQueries fresh;
    const auto query = [](int64_t value) { return at::full({1, 2, 3, 4}, static_cast<float>(value)); };
    for (int64_t position = 10; position < 90; ++position) fresh.add(7, position, query(position));
    const at::Tensor found = fresh.find(7, 80, 10);
    REQUIRE(found.defined());
    CHECK(found.sizes() == at::IntArrayRef({10, 2, 3, 4}));
    for (int64_t i = 0; i < 10; ++i) CHECK(found[i].eq(static_cast<double>(80 + i)).all().item<bool>());
    CHECK_FALSE(fresh.find(8, 80, 10).defined());
    CHECK_FALSE(fresh.find(7, 85, 6).defined());
    CHECK_FALSE(fresh.find(7, 10, 2).defined());  // too long ago
    fresh.add(7, 95, query(95));                  // what lies between is not known
    CHECK_FALSE(fresh.find(7, 89, 1).defined());
    CHECK(fresh.find(7, 95, 1).defined());
    fresh.add(9, 96, query(96));
    CHECK_FALSE(fresh.find(7, 95, 1).defined());
    fresh.clear();
    CHECK_FALSE(fresh.find(9, 96, 1).defined());
}

TEST_CASE("scores made while tokens come are those of the same tokens looked at again") {
    const TemporaryFolder folder("live-scores");
    const auto bench = Bench::ready(small_options());
    bench->after(raw("The sea is blue, because the water", greedy(60)), true);
    const auto live = bench->now()->anomaly;
    REQUIRE(live);
    bench->after(command::SaveSession{folder.file("a.savepoint"), "{}"}, true);
    const auto shown = bench->after(command::OpenSession{folder.file("a.savepoint")}, true);
    REQUIRE_MESSAGE(shown->errors.empty(), errors_of(*shown));
    REQUIRE(shown->anomaly->scored == live->scored);
    REQUIRE(live->scored > 60);
    for (size_t i = 0; i < live->token_score.size(); ++i)
        CHECK(shown->anomaly->token_score[i] == doctest::Approx(live->token_score[i]).epsilon(1e-3));
}

TEST_CASE("a stored reference is read when it is wanted; a damaged one can be fitted again") {
    const TemporaryFolder folder("anomaly-stored");
    const WorkbenchOptions options = options_in(folder);
    const AnomalyChoice choice{{.kind = PhiKind::relu}, StateForm::read_out, DetectorKind::mahalanobis};
    const auto bench = Bench::ready(options);
    bench->after(command::SetAnomalyChoice{choice}, true);
    CHECK(bench->after(command::FitReference{}, true)->reference->state == ReferenceView::State::ready);
    std::string path;
    for (const auto& file : std::filesystem::recursive_directory_iterator(options.data_folder))
        if (file.path().filename() == "anomaly-relu.read_out.mahalanobis.safetensors") path = file.path().string();
    REQUIRE_FALSE(path.empty());

    const auto again = Bench::ready(options);
    CHECK(again->after(command::SetAnomalyChoice{choice}, true)->reference->state == ReferenceView::State::ready);
    std::ofstream(path) << "damaged";
    const auto damaged = Bench::ready(options);
    CHECK(damaged->after(command::SetAnomalyChoice{choice}, true)->reference->state == ReferenceView::State::absent);
    CHECK(errors_of(*damaged->now()) == "");
    CHECK(damaged->after(command::FitReference{}, true)->reference->state == ReferenceView::State::ready);
}

TEST_CASE(
    "a phi that has to be learned is learned first, as a stage of the fit, and kept; a cancel leaves nothing half") {
    const TemporaryFolder folder("anomaly-learned");
    const WorkbenchOptions options = options_in(folder);
    const AnomalyChoice choice{.phi = {.kind = PhiKind::hedgehog}};
    const auto files = [&](const std::string& beginning) {
        int found = 0;
        for (const auto& file : std::filesystem::recursive_directory_iterator(options.data_folder))
            found += file.path().filename().string().starts_with(beginning) ? 1 : 0;
        return found;
    };
    const auto bench = Bench::ready(options);
    bench->after(raw("The sea is blue, because the water", greedy(8)), true);
    bench->after(command::SetAnomalyChoice{choice}, true);
    bench->send(command::FitReference{});
    // Two passes over the sixteen texts of the small sidecar.
    REQUIRE(bench->wait_for([](const Snapshot& s) { return s.reference->stage == "learning phi, text 3 of 32"; }));
    CHECK(bench->now()->reference->progress > 0);
    bench->after(command::CancelJob{bench->now()->jobs->back().id}, true);
    CHECK(bench->now()->reference->state == ReferenceView::State::absent);
    CHECK(files("hedgehog") + files("anomaly-") == 0);

    const auto shown = bench->after(command::FitReference{}, true);
    REQUIRE_MESSAGE(shown->errors.empty(), errors_of(*shown));
    CHECK(shown->reference->state == ReferenceView::State::ready);
    CHECK(files("hedgehog.safetensors") == 1);
    CHECK(files("anomaly-hedgehog.read_out.mahalanobis.safetensors") == 1);
    check_scored(*shown, choice);
    // Ordinary text lies about where ordinary text lay, at every layer.
    double sum = 0;
    for (const float distance : shown->anomaly->distance) sum += distance;
    const double mean = sum / static_cast<double>(shown->anomaly->distance.size());
    CHECK(mean > 0.5);
    CHECK(mean < 2);
}
