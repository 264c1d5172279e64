// Figures of the workbench, printed. The bounds are loose: a busy machine must not fail them.

#include <algorithm>
#include <vector>

#include "workbench_fixture.h"

using namespace savepoint;
using namespace savepoint::test;

namespace {

double milliseconds_since(std::chrono::steady_clock::time_point start) {
    return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start).count();
}

double quantile(std::vector<double> values, double q) {
    std::sort(values.begin(), values.end());
    return values[static_cast<size_t>(q * static_cast<double>(values.size() - 1))];
}

}  // namespace

TEST_CASE("a preview is ready before a slider feels slow") {
    Bench& bench = Bench::shared();
    auto shown = bench.after(chat("Explain in a few words why the sky is blue.", greedy(100)), true);
    const int64_t at = static_cast<int64_t>(shown->path->tokens.size()) - 10;
    const TokenRef token{shown->current, at};
    bench.after(command::Select{token});
    const auto groups = static_cast<int64_t>(shown->sidecar->groups.size());
    for (const int64_t group : {int64_t{0}, groups / 2, groups - 1}) {
        std::vector<double> all, inside;
        for (int i = 0; i < 25; ++i) {
            const auto start = std::chrono::steady_clock::now();
            shown = bench.after(command::PreviewEdit{token, {set_component(at, group, 0, -3 + 0.25 * i)}});
            all.push_back(milliseconds_since(start));
            inside.push_back(shown->preview->milliseconds);
        }
        MESSAGE("preview, group ", group, ": median ", quantile(all, 0.5), " ms, p95 ", quantile(all, 0.95),
                " ms; by its own clock ", quantile(inside, 0.5), " ms");
        CHECK(quantile(inside, 0.5) < 600);
    }
}

TEST_CASE("marks cost no decode speed") {
    Bench& bench = Bench::shared();
    // In turns, and the best of each: other work on the machine comes and goes.
    double without = 0, with = 0;
    for (int i = 0; i < 3; ++i) {
        bench.after(command::SetMarkThreshold{100}, true);
        without = std::max(without, bench.after(raw("The sea is", greedy(64)))->status.tokens_per_second);
        bench.after(command::SetMarkThreshold{0}, true);
        with = std::max(with, bench.after(raw("The sea is", greedy(64)))->status.tokens_per_second);
    }
    MESSAGE("scored live, hardly a token marked: ", without, " tokens/s; every token marked: ", with, " tokens/s");
    CHECK(with > 0.6 * without);
}

TEST_CASE("branching and rewinding on a long path") {
    Bench& bench = Bench::shared();
    std::string text;
    for (int i = 0; i < 60; ++i) text += "The quick brown fox jumps over the lazy dog. ";
    auto start = std::chrono::steady_clock::now();
    auto shown = bench.after(raw(text, greedy(16)));
    const auto tokens = static_cast<int64_t>(shown->path->tokens.size());
    MESSAGE("prompt of ", tokens - 16, " tokens and 16 more: ", milliseconds_since(start), " ms; ",
            shown->status.tokens_per_second, " tokens/s");
    start = std::chrono::steady_clock::now();
    bench.settle();
    MESSAGE("analyses of the path afterwards: ", milliseconds_since(start), " ms");
    const ThoughtId thought = shown->current;
    std::vector<double> branches, selections;
    for (int i = 0; i < 5; ++i) {
        start = std::chrono::steady_clock::now();
        bench.after(command::BranchHere{{thought, tokens / 2 + 50 * i}, greedy(1)});
        branches.push_back(milliseconds_since(start));
        start = std::chrono::steady_clock::now();
        bench.after(command::RewindHere{{thought, tokens / 3 + i}});
        selections.push_back(milliseconds_since(start));
    }
    MESSAGE("branch on ", tokens, " tokens, to its first new token: median ", quantile(branches, 0.5),
            " ms; rewind: median ", quantile(selections, 0.5), " ms");
    CHECK(quantile(branches, 0.5) < 5000);
}
