// The attention that tokens receive, added up in the background for the current path while it is watched.

#include <vector>

#include "workbench_fixture.h"

using namespace savepoint;
using namespace savepoint::test;

namespace {

// From what every later token looks at, asked for one by one.
std::vector<float> summed(Bench& bench, ThoughtId thought, int64_t tokens) {
    std::vector<double> sums;
    size_t heads = 0;
    for (int64_t query = 1; query < tokens; ++query) {
        const auto view = bench.after(command::ShowAttention{{thought, query}}, true)->attention;
        heads = static_cast<size_t>(view->layers * view->heads);
        sums.resize(heads * static_cast<size_t>(tokens));
        for (size_t head = 0; head < heads; ++head)
            for (int64_t key = 0; key < query; ++key)
                sums[head * static_cast<size_t>(tokens) + static_cast<size_t>(key)] +=
                    view->weight[head * static_cast<size_t>(view->tokens) + static_cast<size_t>(key)];
    }
    return {sums.begin(), sums.end()};
}

void check_mass(Bench& bench) {
    bench.settle();
    const auto shown = bench.now();
    const auto view = shown->attention_mass;
    REQUIRE(view);
    const auto tokens = static_cast<int64_t>(shown->path->tokens.size());
    CHECK(view->thought == shown->current);
    REQUIRE(view->tokens == tokens);
    const std::vector<float> expected = summed(bench, shown->current, tokens);
    REQUIRE(view->mass.size() == expected.size());
    float worst = 0;
    for (size_t i = 0; i < expected.size(); ++i) worst = std::max(worst, std::abs(expected[i] - view->mass[i]));
    CHECK(worst < 1e-3f);
    const auto heads = static_cast<size_t>(view->layers * view->heads);
    for (int64_t token = 0; token < tokens; ++token) {
        double mean = 0;
        for (size_t head = 0; head < heads; ++head)
            mean += view->mass[head * static_cast<size_t>(tokens) + static_cast<size_t>(token)];
        CHECK(view->mean[static_cast<size_t>(token)] ==
              doctest::Approx(mean / static_cast<double>(heads)).epsilon(1e-3));
    }
}

void watch_growing_and_branching(Bench& bench) {
    const TemporaryFolder folder("mass");
    const ThoughtId root = bench.after(raw("The sea is blue because", greedy(6)), true)->current;
    CHECK(bench.now()->attention_mass == nullptr);
    bench.after(command::WatchAttentionMass{true}, true);
    CHECK(bench.now()->watches_attention_mass);
    check_mass(bench);
    const float before = bench.now()->attention_mass->mean[1];
    bench.after(command::Continue{root, greedy(5)}, true);
    check_mass(bench);
    CHECK(bench.now()->attention_mass->mean[1] > before);  // later tokens paid too
    const ThoughtId continued = bench.now()->current;
    bench.after(command::BranchHere{{root, 6}, seeded(4, 3)}, true);
    check_mass(bench);
    bench.after(command::SetCurrent{continued}, true);
    check_mass(bench);
    const auto tokens = static_cast<size_t>(bench.now()->attention_mass->tokens);
    bench.after(command::Export{"attention_mass.csv", folder.file("m.csv")}, true);
    CHECK(lines_of(folder.file("m.csv")) == tokens * 30 * 9 + 1);
    bench.after(command::RemoveThought{continued}, true);
    check_mass(bench);
    bench.after(command::WatchAttentionMass{false}, true);
    CHECK(bench.now()->attention_mass == nullptr);
    CHECK(errors_of(*bench.now()) == "");
}

}  // namespace

TEST_CASE("attention received is that of all later tokens, follows the path, and needs no sidecar") {
    watch_growing_and_branching(Bench::shared(false));
}

TEST_CASE("attention received beside the other analyses; it grows while tokens are generated") {
    Bench& bench = Bench::shared();
    watch_growing_and_branching(bench);
    bench.after(command::WatchAttentionMass{true});
    bench.send(raw("The lighthouse stood on the rock, and", greedy(160)));
    CHECK(bench.wait_for([](const Snapshot& s) {
        return s.status.generating && s.attention_mass && s.attention_mass->thought == s.current &&
               s.attention_mass->tokens >= 32;
    }));
    bench.send(command::Stop{});
    bench.after(command::WatchAttentionMass{false}, true);
}
