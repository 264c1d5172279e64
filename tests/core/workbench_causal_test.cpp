#include "tests/core/workbench_fixture.h"

using namespace savepoint;
using namespace savepoint::test;

namespace {

// Two roots whose prompts differ in one word.
std::pair<ThoughtId, ThoughtId> capitals(Bench& bench) {
    const auto first = bench.after(raw("The capital of France is the city of", greedy(1)), true);
    const ThoughtId france = first->current;
    const auto second = bench.after(raw("The capital of Germany is the city of", greedy(1)), true);
    return {france, second->current};
}

}  // namespace

TEST_CASE("two thoughts are compared in the background: aligned, in every part, with the first drift marked") {
    Bench& bench = Bench::shared();
    const auto [france, germany] = capitals(bench);
    const auto view = bench.after(command::CompareRuns{france, germany, {}}, true)->drift;
    CHECK(errors_of(*bench.now()) == "");
    REQUIRE(view);
    CHECK(view->state == CausalState::done);
    CHECK(view->runs->a == france);
    CHECK(view->runs->shared == 3);
    CHECK_FALSE(view->runs->pairs[3].same);
    CHECK(view->runs->text_b[3] == " Germany");
    CHECK(view->runs->owner_b[3] == germany);
    REQUIRE(view->maps.size() == 5);
    CHECK(view->groups.size() == static_cast<size_t>(view->maps[4]->rows));
    CHECK(view->unrelated_runs > 1);
    REQUIRE(view->maps[0]->first.has_value());
    CHECK(view->maps[0]->first->pair == 4);

    const TemporaryFolder folder("causal");
    bench.after(command::Export{"drift.csv", folder.file("drift.csv")}, true);
    size_t cells = 0;
    for (const auto& map : view->maps) cells += map->distance.size();
    CHECK(lines_of(folder.file("drift.csv")) == cells + 1);

    // The other way round, with what is known of unrelated texts kept.
    const auto back = bench.after(command::CompareRuns{germany, france, {}}, true)->drift;
    CHECK(back->maps[0]->distance[5 * 30 + 7] == doctest::Approx(view->maps[0]->distance[5 * 30 + 7]));

    // Another phi: other distances of the linear-attention state, the same of everything else. None is learned here.
    DriftSettings settings;
    settings.phi.kind = PhiKind::exp;
    const auto other = bench.after(command::CompareRuns{germany, france, settings}, true)->drift;
    REQUIRE(other->state == CausalState::done);
    CHECK(other->settings.phi.kind == PhiKind::exp);
    for (size_t part = 0; part < 5; ++part)
        CHECK((other->maps[part]->distance == back->maps[part]->distance) ==
              (other->maps[part]->part != DriftPart::attention_state));
    settings.phi.kind = PhiKind::hedgehog;
    bench.after(command::CompareRuns{germany, france, settings}, true);
    CHECK(errors_of(*bench.now()).find("savepoint phi") != std::string::npos);
    bench.after(command::RemoveThought{germany}, true);
    CHECK(bench.now()->drift == nullptr);
}

TEST_CASE("patching finds the outcome by itself, fills its map, can be cancelled and exported") {
    Bench& bench = Bench::shared();
    const auto [france, germany] = capitals(bench);
    PatchRequest request;
    request.source = france, request.destination = germany;
    request.settings.sites = {PatchSite::resid};
    const auto view = bench.after(command::PatchRuns{request}, true)->patch;
    CHECK(errors_of(*bench.now()) == "");
    REQUIRE(view);
    CHECK(view->state == CausalState::done);
    CHECK(view->request.source_end == view->request.destination_end);
    CHECK(view->request.destination_end == 7);  // the last token of the prompts
    CHECK(view->target == " Paris");
    CHECK(view->distractor == " Berlin");
    CHECK(view->usable_pairs == 8);
    REQUIRE(view->maps.size() == 1);
    const PatchScores& resid = view->maps[0];
    CHECK(recovered(*view, resid.logit_difference[29 * 8 + 7]) == doctest::Approx(1).epsilon(1e-3));
    CHECK(std::abs(recovered(*view, resid.logit_difference[29 * 8 + 3])) < 1e-3f);
    CHECK(recovered(*view, resid.logit_difference[0 * 8 + 3]) > 0.8f);
    // The heads of a layer token by token come beside what is there (head 4 of layer 23 brings the country: README).
    PatchRequest further = view->request;
    further.settings.sites.clear();
    further.settings.head_layer = 23;
    const auto both = bench.after(command::PatchRuns{further}, true)->patch;
    REQUIRE(both->maps.size() == 2);
    CHECK(both->maps[0].logit_difference == resid.logit_difference);
    CHECK(both->maps[1].head_layer == 23);
    CHECK(recovered(*both, both->maps[1].logit_difference[4 * 8 + 7]) > 0.5f);

    const TemporaryFolder folder("patching");
    bench.after(command::Export{"patch.csv", folder.file("patch.csv")}, true);
    CHECK(lines_of(folder.file("patch.csv")) == 30 * 8 + 9 * 8 + 1);

    request.settings = {};
    request.settings.rows_at_once = 16;
    bench.send(command::PatchRuns{request});
    REQUIRE(bench.wait_for(
        [](const Snapshot& s) { return s.patch->state == CausalState::running && s.patch->cells_run > 20; }));
    bench.after(command::CancelJob{bench.now()->jobs->back().id}, true);
    CHECK(bench.now()->patch->state == CausalState::cancelled);
    CHECK(bench.now()->patch->cells_run > 20);
    CHECK(bench.now()->jobs->back().state == JobView::State::cancelled);
}

TEST_CASE("thoughts that cannot be compared are refused, and nothing is left behind") {
    Bench& bench = Bench::shared();
    const auto [france, germany] = capitals(bench);
    bench.after(command::CompareRuns{france, 99, {}}, true);
    CHECK(errors_of(*bench.now()).find("99") != std::string::npos);
    CHECK(bench.now()->drift == nullptr);
    PatchRequest request;
    request.source = france, request.destination = germany;
    request.destination_end = request.source_end = 500;
    bench.after(command::PatchRuns{request}, true);
    CHECK(errors_of(*bench.now()).find("500") != std::string::npos);
    CHECK(bench.now()->patch == nullptr);
    // A thought has the same outcome as itself: there is nothing to tell apart, and that is said.
    request = {};
    request.source = request.destination = france;
    bench.after(command::PatchRuns{request}, true);
    CHECK(bench.now()->patch->state == CausalState::done);
    CHECK(bench.now()->patch->cells_run == 0);
    CHECK(std::isnan(recovered(*bench.now()->patch, 1)));
}
