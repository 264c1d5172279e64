// Scores of the states that a pruned cache has, beside those of the whole one.

#include <sstream>

#include "workbench_fixture.h"

using namespace savepoint;
using namespace savepoint::test;

namespace {

std::vector<std::vector<std::string>> table_in(const std::string& path) {
    std::vector<std::vector<std::string>> rows;
    std::ifstream file(path);
    for (std::string line; std::getline(file, line);) {
        std::vector<std::string> fields{""};
        for (const char c : line)
            if (c == ',')
                fields.emplace_back();
            else
                fields.back() += c;
        rows.push_back(std::move(fields));
    }
    return rows;
}

}  // namespace

TEST_CASE("the states of a pruned cache are scored beside the full ones") {
    Bench& bench = Bench::shared();
    const ThoughtId root = bench.after(raw("The sea is blue, because the water", greedy(16)), true)->current;
    auto shown = bench.after(command::SetPruning{{PruningKind::window, 1000}}, true);
    const auto tokens = static_cast<int64_t>(shown->path->tokens.size());
    REQUIRE(shown->anomaly->pruned_scored == tokens);
    for (int64_t i = 0; i < tokens; ++i)  // nothing is dropped yet
        CHECK(shown->anomaly->pruned_token_percentile[static_cast<size_t>(i)] ==
              doctest::Approx(shown->anomaly->token_percentile[static_cast<size_t>(i)]).epsilon(0.01));
    shown = bench.after(command::SetPruning{{PruningKind::heavy, 4}}, true);
    REQUIRE(shown->anomaly->pruned_scored == tokens);
    CHECK(shown->anomaly->pruned_token_percentile[3] ==
          doctest::Approx(shown->anomaly->token_percentile[3]).epsilon(0.01));
    CHECK(shown->anomaly->pruned_distance.back() != doctest::Approx(shown->anomaly->distance.back()));
    shown = bench.after(command::Continue{root, greedy(4)}, true);
    CHECK(shown->anomaly->pruned_scored == tokens + 4);
    shown = bench.after(command::SetPruning{}, true);
    CHECK(shown->anomaly->pruned_scored == 0);
    bench.after(command::SetPruning{{PruningKind::window, 0}}, true);
    CHECK(errors_of(*bench.now()).find("at least one token") != std::string::npos);
}

TEST_CASE("scores of a pruned cache follow while tokens come, and are those that it has in the end") {
    Bench& bench = Bench::shared();
    const ThoughtId root = bench.after(raw("The sea is blue, because the water", greedy(8)), true)->current;
    bench.after(command::SetPruning{{PruningKind::heavy, 6}}, true);
    const auto before = static_cast<int64_t>(bench.now()->path->tokens.size());
    bench.send(command::Continue{root, greedy(400)});
    CHECK(bench.wait_for([&](const Snapshot& s) {
        return s.status.generating && s.anomaly && s.anomaly->pruned_scored >= before + 16;
    }));
    bench.send(command::Stop{});
    bench.settle();
    const auto grown = bench.now()->anomaly;
    const auto tokens = static_cast<int64_t>(bench.now()->path->tokens.size());
    REQUIRE(grown->pruned_scored == tokens);
    // From the beginning, at rest.
    bench.after(command::SetPruning{}, true);
    const auto again = bench.after(command::SetPruning{{PruningKind::heavy, 6}}, true)->anomaly;
    REQUIRE(again->pruned_scored == tokens);
    for (size_t i = 0; i < again->pruned_distance.size(); i += 97)
        CHECK(grown->pruned_distance[i] == doctest::Approx(again->pruned_distance[i]).epsilon(1e-3));
    // A path that parts from the one scored starts anew where it has to.
    const auto other = bench.after(raw("Another text begins here", greedy(4)), true);
    CHECK(other->anomaly->pruned_scored == static_cast<int64_t>(other->path->tokens.size()));
}

TEST_CASE("the exported scores have further columns where a pruning is chosen") {
    const TemporaryFolder folder("pruned");
    Bench& bench = Bench::shared();
    bench.after(raw("The sea is blue, because the water", greedy(4)), true);
    const std::string path = folder.file("anomaly.csv");
    bench.after(command::Export{"anomaly.csv", path}, true);
    CHECK(table_in(path)[0].back() == "token_percentile");
    const auto view = bench.after(command::SetPruning{{PruningKind::heavy, 4}}, true)->anomaly;
    bench.after(command::Export{"anomaly.csv", path}, true);
    const auto table = table_in(path);
    REQUIRE(table.size() == 1 + view->distance.size());
    REQUIRE(table[0] == std::vector<std::string>{"position", "layer", "head", "distance", "percentile", "token_score",
                                                 "token_percentile", "pruning", "pruned_distance", "pruned_percentile",
                                                 "pruned_token_percentile"});
    for (size_t i = 0; i < view->distance.size(); i += 53) {
        const auto& row = table[i + 1];
        const size_t token = i / static_cast<size_t>(view->layers * view->heads);
        CHECK(row[0] == std::to_string(token));
        CHECK(std::stof(row[3]) == doctest::Approx(view->distance[i]).epsilon(1e-4));
        CHECK(row[7] == "heavy:4");
        CHECK(std::stof(row[8]) == doctest::Approx(view->pruned_distance[i]).epsilon(1e-4));
        CHECK(std::stof(row[9]) == doctest::Approx(view->pruned_percentile[i]).epsilon(1e-4));
        CHECK(std::stof(row[10]) == doctest::Approx(view->pruned_token_percentile[token]).epsilon(1e-4));
    }
}
