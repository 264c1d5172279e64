#include "tests/core/workbench_fixture.h"

using namespace savepoint;
using namespace savepoint::test;

namespace {

ThoughtId capital(Bench& bench) {
    return bench.after(raw("The capital of France is the city of", greedy(2)), true)->current;
}

}  // namespace

TEST_CASE("a thought is read through the logit lens, on its own states and on decoded ones, and exported") {
    Bench& bench = Bench::shared();
    LensRequest request;
    request.thought = capital(bench);
    request.tokens = 8;
    const auto view = bench.after(command::ReadThroughLens{request}, true)->lens;
    CHECK(errors_of(*bench.now()) == "");
    REQUIRE(view);
    REQUIRE(view->state == CausalState::done);
    REQUIRE(view->map);
    CHECK(view->map->read == 8);
    CHECK(view->text[3] == " France");
    CHECK(view->target == " Paris");
    CHECK(view->top[static_cast<size_t>(7 * 30 + 29) * kLensTop] == " Paris");
    CHECK(view->map->kl[7 * 30 + 29] == 0);
    CHECK(view->map->difference[7 * 30 + 29] > 0);
    CHECK(view->figures.kl_tuned.empty());
    const TemporaryFolder folder("lens");
    bench.after(command::Export{"lens.csv", folder.file("lens.csv")}, true);
    CHECK(lines_of(folder.file("lens.csv")) >= 8 * 30 + 1);

    request.states = LensStates::decoded;
    const auto decoded = bench.after(command::ReadThroughLens{request}, true)->lens;
    REQUIRE(decoded->state == CausalState::done);
    CHECK(decoded->map->kl[7 * 30 + 29] > 0);  // its own error
    CHECK(decoded->map->kl[7 * 30 + 29] < 5);

    request.first = 500;
    bench.after(command::ReadThroughLens{request}, true);
    CHECK(errors_of(*bench.now()).find("500") != std::string::npos);
}

// The lens is kept in the data folder: only the first run fits it.
TEST_CASE("a tuned lens is fitted when it is first asked for, and kept") {
    Bench& bench = Bench::shared();
    LensRequest request;
    request.thought = capital(bench);
    request.tokens = 8;
    const auto logit = bench.after(command::ReadThroughLens{request}, true)->lens;
    request.kind = LensKind::tuned;
    const auto tuned = bench.after(command::ReadThroughLens{request}, true)->lens;
    CHECK(errors_of(*bench.now()) == "");
    REQUIRE(tuned->state == CausalState::done);
    REQUIRE(tuned->figures.kl_tuned.size() == 30);
    CHECK(tuned->figures.kl_tuned[15] < 0.5f * tuned->figures.kl_logit[15]);
    CHECK(tuned->map->kl[7 * 30 + 15] < logit->map->kl[7 * 30 + 15]);
    bench.after(command::NewSession{}, true);
    request.thought = capital(bench);
    const auto again = bench.after(command::ReadThroughLens{request}, true)->lens;
    CHECK(again->figures.kl_tuned == tuned->figures.kl_tuned);
}

TEST_CASE("what the heads of a token look at is shown for any token, and exported") {
    Bench& bench = Bench::shared();
    const ThoughtId thought = capital(bench);
    const auto view = bench.after(command::ShowAttention{{thought, 5}}, true)->attention;
    REQUIRE(view);
    CHECK(view->token == TokenRef{thought, 5});
    CHECK(view->tokens == 6);
    CHECK(view->text[3] == " France");
    REQUIRE(view->weight.size() == 30u * 9 * 6);
    for (size_t head = 0; head < 30 * 9; ++head) {
        float sum = 0;
        for (size_t i = 0; i < 6; ++i) sum += view->weight[head * 6 + i];
        CHECK(sum == doctest::Approx(1).epsilon(1e-4));
    }
    const TemporaryFolder folder("attention");
    bench.after(command::Export{"attention.csv", folder.file("attention.csv")}, true);
    CHECK(lines_of(folder.file("attention.csv")) == 30 * 9 * 6 + 1);
    bench.after(command::ShowAttention{{thought, 99}}, true);
    CHECK(errors_of(*bench.now()).find("99") != std::string::npos);
    bench.after(command::RemoveThought{thought}, true);
    CHECK(bench.now()->attention == nullptr);
}

TEST_CASE("signs of collapse of the sidecar are looked for text by text, and can be cancelled") {
    Bench& bench = Bench::shared();
    CollapseSettings settings;
    settings.prompts = 4, settings.prefix = 16, settings.continuation = 4;
    const auto view = bench.after(command::Diagnose{settings}, true)->diagnosis;
    CHECK(errors_of(*bench.now()) == "");
    REQUIRE(view);
    CHECK(view->state == CausalState::done);
    CHECK(view->report.prompts_done == 4);
    REQUIRE(view->report.metrics.size() == 8);
    CHECK(view->report.metrics[0].name == "diversity");
    CHECK(view->report.metrics[0].healthy());
    CHECK(view->outputs.size() == 4);
    CHECK(view->expected.size() == 4);
    const TemporaryFolder folder("diagnosis");
    bench.after(command::Export{"diagnosis.csv", folder.file("diagnosis.csv")}, true);
    CHECK(lines_of(folder.file("diagnosis.csv")) == 9);

    settings.prompts = 64;
    bench.send(command::Diagnose{settings});
    REQUIRE(bench.wait_for([](const Snapshot& s) {
        return s.diagnosis->state == CausalState::running && s.diagnosis->report.prompts_done > 2;
    }));
    bench.after(command::CancelJob{bench.now()->jobs->back().id}, true);
    CHECK(bench.now()->diagnosis->state == CausalState::cancelled);
    settings.subject = CollapseSubject::soft_prompts;
    settings.file = "/nowhere.safetensors";
    bench.after(command::Diagnose{settings}, true);
    CHECK(bench.now()->diagnosis->state == CausalState::failed);
    CHECK(errors_of(*bench.now()).find("/nowhere.safetensors") != std::string::npos);
}
