// A threshold on the anomaly score marks tokens and the thoughts that own them.

#include <algorithm>
#include <map>
#include <vector>

#include "workbench_fixture.h"

using namespace savepoint;
using namespace savepoint::test;

namespace {

// Against the scores of the whole path: what is marked, and where each thought's first mark is.
void check_marks(const Snapshot& shown, double threshold) {
    REQUIRE(shown.anomaly);
    REQUIRE(shown.anomaly->scored == static_cast<int64_t>(shown.path->tokens.size()));
    CHECK(shown.mark_threshold == threshold);
    std::map<ThoughtId, int64_t> marks, first;
    for (const auto& token : shown.path->tokens) {
        const bool expected = shown.anomaly->token_percentile[static_cast<size_t>(token->position)] >= threshold;
        CHECK(token->marked == expected);
        if (expected && marks[token->thought]++ == 0) first[token->thought] = token->position;
    }
    for (const auto& token : shown.path->tokens) {
        const ThoughtView* owner = thought(shown, token->thought);
        // A branch shows only a part of its parent's own tokens.
        if (owner->prefix + owner->tokens > static_cast<int64_t>(shown.path->tokens.size())) continue;
        CHECK(owner->marks == marks[owner->id]);
        CHECK(owner->first_mark == (owner->marks ? first[owner->id] : -1));
    }
}

double middle_percentile(const Snapshot& shown) {
    std::vector<float> all = shown.anomaly->token_percentile;
    std::sort(all.begin(), all.end());
    return all[all.size() / 2];
}

}  // namespace

TEST_CASE("tokens whose anomaly reaches the threshold are marked, and counted on their thoughts") {
    Bench& bench = Bench::shared();
    const ThoughtId root = bench.after(raw("The sea is blue, xq zvv kkk 9 %% the", greedy(12)), true)->current;
    auto shown = bench.after(command::Continue{root, greedy(8)}, true);
    check_marks(*shown, kMarkThreshold);
    const double middle = middle_percentile(*shown);
    shown = bench.after(command::SetMarkThreshold{middle}, true);
    check_marks(*shown, middle);
    const int64_t marked = thought(*shown, root)->marks + thought(*shown, shown->current)->marks;
    CHECK(marked >= static_cast<int64_t>(shown->path->tokens.size()) / 2);
    CHECK(thought(*shown, root)->marks > 0);

    shown = bench.after(command::SetMarkThreshold{0}, true);
    CHECK(thought(*shown, root)->marks == thought(*shown, root)->tokens);
    CHECK(thought(*shown, root)->first_mark == 0);
    // Another feature map has other scores, and so other marks.
    bench.after(command::SetMarkThreshold{middle}, true);
    check_marks(*bench.after(command::SetAnomalyChoice{{.phi = {.kind = PhiKind::identity}}}, true), middle);

    for (const double wrong : {-1.0, 100.5, static_cast<double>(NAN)}) {
        bench.after(command::SetMarkThreshold{wrong}, true);
        CHECK(errors_of(*bench.now()).find("from 0 to 100") != std::string::npos);
        bench.after(command::DismissError{bench.now()->errors.back().id});
    }
    check_marks(*bench.after(command::SetMarkThreshold{kMarkThreshold}, true), kMarkThreshold);
}

TEST_CASE("marks come while tokens are generated, and the threshold is kept in the session") {
    const TemporaryFolder folder("marks");
    Bench& bench = Bench::shared();
    bench.after(command::SetMarkThreshold{0}, true);
    bench.send(raw("The lighthouse stood on the rock, and", greedy(120)));
    CHECK(bench.wait_for([](const Snapshot& s) {
        const auto& tokens = s.graph->thoughts;
        return s.status.generating && !tokens.empty() && tokens.back().marks >= 8 && s.path->tokens[7]->marked;
    }));
    bench.send(command::Stop{});
    bench.settle();
    bench.after(command::SetMarkThreshold{62.5}, true);
    const auto before = bench.now();
    bench.after(command::SaveSession{folder.file("a.savepoint"), "{}"}, true);
    bench.after(command::NewSession{}, true);
    bench.after(command::SetMarkThreshold{kMarkThreshold}, true);
    const auto after = bench.after(command::OpenSession{folder.file("a.savepoint")}, true);
    CHECK(errors_of(*after) == "");
    CHECK(after->mark_threshold == 62.5);
    REQUIRE(after->graph->thoughts.size() == before->graph->thoughts.size());
    CHECK(after->graph->thoughts[0].marks == before->graph->thoughts[0].marks);
    CHECK(after->graph->thoughts[0].marks > 0);
}
