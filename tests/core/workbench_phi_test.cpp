#include "core/workbench/phi_ranking_view.h"
#include "workbench_fixture.h"

using namespace savepoint;
using namespace savepoint::test;

namespace {

PhiRankingSettings small() {
    PhiRankingSettings settings;
    settings.kinds = {PhiKind::elu1, PhiKind::identity, PhiKind::hedgehog};
    settings.rotary = {1};
    settings.sequence_length = 64;
    settings.held_out_tokens = 256;
    settings.fit_tokens = 512;
    settings.hedgehog_steps = 4;
    return settings;
}

}  // namespace

TEST_CASE("feature maps are ranked in the background, exported, and what was compared survives a cancel") {
    const TemporaryFolder folder("phi");
    Bench& bench = Bench::shared(false);
    bench.send(command::RankPhi{small()});
    // Generation goes first: it ends while the ranking still runs.
    const auto generated = bench.after(raw("The sea is", greedy(2)));
    REQUIRE(generated->phi_ranking);
    CHECK(generated->phi_ranking->phase == Phase::working);
    bench.settle();
    CHECK(errors_of(*bench.now()) == "");
    const auto view = bench.now()->phi_ranking;
    REQUIRE(view->phase == Phase::ready);
    REQUIRE(view->rows.size() == 3);
    for (const PhiFidelity& row : view->rows) {
        CHECK(row.rotary);
        CHECK(row.tokens == 4 * 60);
        CHECK(row.layer_error.size() == 30);
        double sum = 0;
        for (const double error : row.layer_error) sum += error;
        CHECK(row.relative_error == doctest::Approx(sum / 30));
    }
    CHECK(view->rows[0].relative_error <= view->rows[1].relative_error);
    CHECK(view->rows.back().kind == PhiKind::identity);  // S / t has no scale
    bench.after(command::Export{"phi.csv", folder.file("phi.csv")}, true);
    CHECK(lines_of(folder.file("phi.csv")) == 1 + 3 * 31);

    PhiRankingSettings longer = small();
    longer.kinds = {PhiKind::elu1};
    longer.held_out_tokens = 64 * 200;
    bench.send(command::RankPhi{longer});
    REQUIRE(bench.wait_for(
        [](const Snapshot& s) { return s.phi_ranking->phase == Phase::working && !s.phi_ranking->rows.empty(); }));
    for (const JobView& job : *bench.now()->jobs)
        if (job.state == JobView::State::running && job.name == "Ranking feature maps")
            bench.send(command::CancelJob{job.id});
    bench.settle();
    const auto cancelled = bench.now()->phi_ranking;
    CHECK(cancelled->phase == Phase::absent);
    REQUIRE(cancelled->rows.size() == 1);
    CHECK(cancelled->rows[0].tokens < 200 * 60);

    PhiRankingSettings wrong = small();
    wrong.corpus = "/nowhere";
    bench.after(command::RankPhi{wrong}, true);
    CHECK(bench.now()->phi_ranking->phase == Phase::failed);
    CHECK(errors_of(*bench.now()).find("/nowhere") != std::string::npos);
    wrong = small();
    wrong.sequence_length = 2;
    bench.after(command::RankPhi{wrong}, true);
    CHECK(errors_of(*bench.now()).find("too short") != std::string::npos);
}
