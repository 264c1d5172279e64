#include <ATen/ATen.h>
#include <doctest/doctest.h>

#include "core/model/error.h"
#include "tests/core/state_toy.h"

using namespace savepoint;
using toy::same_bits;

namespace {

// The story's own logits, recorded in the uninterrupted runs, against 16 steps after a restore.
void check_restores(const toy::Story& story, const ThoughtGraph& graph) {
    struct Run {
        ThoughtId id;
        int64_t first;
        at::Tensor logits;
    };  // logits[i]: after path token first + i
    for (const Run& run : {Run{story.first, 40, story.first_logits}, Run{story.branch, 51, story.branch_logits},
                           Run{story.edited, 46, story.edited_logits}}) {
        for (const int64_t after : {1, 2, 4}) {
            LiveCache live(toy::model(), graph);
            const int64_t count = std::min<int64_t>(16, run.logits.size(0) - after);
            const at::Tensor again = toy::decode_again(graph, live, run.id, run.first + after, count);
            CHECK_MESSAGE(same_bits(again, run.logits.narrow(0, after - 1, count + 1)), "thought ", run.id, " after ",
                          after);
        }
    }
}

void drop_everything(ThoughtGraph& graph) {
    for (const auto& [id, thought] : graph.thoughts()) {
        graph.drop_hidden(id);
        graph.drop_kv(id);
        graph.edit(id).rows.last.reset();
    }
}

}  // namespace

TEST_CASE("16 steps after a restore equal the uninterrupted run bit for bit") {
    const toy::Story story = toy::make_story();
    check_restores(story, story.contents.graph);
}

TEST_CASE("the same after saving and opening") {
    const toy::Story story = toy::make_story();
    const toy::Folder folder;
    save_session(folder.path("a.savepoint"), story.contents);
    check_restores(story, open_session(folder.path("a.savepoint")).graph);
}

TEST_CASE("the same by replay where keys, values and last rows are gone, edits included") {
    toy::Story story = toy::make_story();
    drop_everything(story.contents.graph);
    CHECK(story.contents.graph.path_rows(story.edited, 0, 46).tokens() == 0);
    check_restores(story, story.contents.graph);
}

TEST_CASE("the same by replay of a session that was saved without keys and values") {
    const toy::Story story = toy::make_story();
    const toy::Folder folder;
    save_session(folder.path("a.savepoint"), story.contents, {.exact_rows = false});
    const SessionContents opened = open_session(folder.path("a.savepoint"));
    CHECK_FALSE(opened.graph.at(story.first).rows.has_kv());
    check_restores(story, opened.graph);
}

TEST_CASE("a rewind into the prompt gives the rows of its whole chunk, restored or replayed") {
    toy::Story story = toy::make_story();
    ThoughtGraph& graph = story.contents.graph;
    KvCache whole = toy::model().make_cache(64);
    toy::model().prefill_chunked(whole, toy::prompt(40, 1), 16);
    for (const bool dropped : {false, true}) {
        if (dropped) drop_everything(graph);
        for (const int64_t at : {1, 15, 16, 17, 31, 39}) {
            LiveCache live(toy::model(), graph);
            KvCache& cache = live.rewind(story.first, at);
            REQUIRE(cache.length() == at);
            for (int64_t layer = 0; layer < 3; ++layer) {
                CHECK(same_bits(cache.keys(layer).narrow(2, 0, at), whole.keys(layer).narrow(2, 0, at)));
                CHECK(same_bits(cache.values(layer).narrow(2, 0, at), whole.values(layer).narrow(2, 0, at)));
            }
        }
    }
}

TEST_CASE("jumping about one cache leaves exactly the tokens that were asked for") {
    toy::Story story = toy::make_story();
    ThoughtGraph& graph = story.contents.graph;
    for (const bool dropped : {false, true}) {
        if (dropped) drop_everything(graph);
        LiveCache jumping(toy::model(), graph);
        const std::vector<std::pair<ThoughtId, int64_t>> jumps = {
            {story.first, 64},  {story.edited, 60}, {story.branch, 70}, {story.first, 10},
            {story.merged, 60}, {story.edited, 46}, {story.edited, 45}, {story.first, 63}};
        for (const auto& [id, tokens] : jumps) {
            LiveCache fresh(toy::model(), graph);
            CHECK(jumping.rewind(id, tokens).length() == tokens);
            fresh.rewind(id, tokens);
            for (int64_t layer = 0; layer < 3; ++layer)
                CHECK(same_bits(jumping.cache().keys(layer).narrow(2, 0, tokens),
                                fresh.cache().keys(layer).narrow(2, 0, tokens)));
            CHECK(same_bits(jumping.next_logits(id, tokens), fresh.next_logits(id, tokens)));
        }
    }
}

TEST_CASE("replay_path gives back every row of a path") {
    toy::Story story = toy::make_story();
    ThoughtGraph& graph = story.contents.graph;
    const int64_t tokens = graph.path_length(story.edited);
    const StateRows first = graph.path_rows(story.edited, 0, tokens);
    REQUIRE(first.has_hidden());
    drop_everything(graph);
    double seen = 0;
    const StateRows again =
        replay_path(toy::model(), graph, story.edited, [&](double done) { return seen = done, true; });
    CHECK(seen > 0.5);
    CHECK(same_bits(again.hidden, first.hidden));
    CHECK(same_bits(again.key, first.key));
    CHECK(same_bits(again.value, first.value));
}

TEST_CASE("a cancelled replay leaves a cache that still is what it says") {
    toy::Story story = toy::make_story();
    ThoughtGraph& graph = story.contents.graph;
    const at::Tensor expected =
        toy::decode_again(graph, *std::make_unique<LiveCache>(toy::model(), graph), story.first, 44, 8);
    drop_everything(graph);
    LiveCache live(toy::model(), graph);
    int asked = 0;
    CHECK_THROWS_AS(live.rewind(story.first, 64, [&] { return ++asked < 3; }), Cancelled);
    CHECK_THROWS_AS(replay_path(toy::model(), graph, story.first, [](double) { return false; }), Cancelled);
    CHECK(live.cache().length() == 32);
    CHECK(same_bits(toy::decode_again(graph, live, story.first, 44, 8), expected));
}

TEST_CASE("a cache outlives the removal of the thought it stood on") {
    toy::Story story = toy::make_story();
    ThoughtGraph& graph = story.contents.graph;
    LiveCache live(toy::model(), graph);
    live.rewind(story.edited, 60);
    graph.remove(story.edited);
    CHECK(live.rewind(story.first, 64).length() == 64);
    CHECK_THROWS_AS(live.rewind(story.edited, 60), InputError);
    CHECK_THROWS_AS(live.rewind(story.first, 65), InputError);
}

TEST_CASE("edited tokens inside the prefilled part split it into passes") {
    Thought thought;
    thought.prefix = 10;
    thought.tokens = toy::prompt(12, 3);
    thought.shape = {9, 4, 1, "cpu", "float32"};
    for (const int64_t position : {10, 16, 20}) thought.edits.push_back({position, 0, at::zeros({4}), {}});
    std::vector<std::array<int64_t, 3>> cut;  // first, count, how
    for (const Pass& pass : passes_of(thought))
        cut.push_back({pass.first, pass.count, pass.decoded + 2 * (pass.edit != nullptr)});
    const std::vector<std::array<int64_t, 3>> expected = {{0, 1, 3}, {1, 4, 0}, {5, 1, 0},  {6, 1, 3},
                                                          {7, 2, 0}, {9, 1, 1}, {10, 1, 3}, {11, 1, 1}};
    CHECK((cut == expected));
}
