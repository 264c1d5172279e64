// A thought that is kept as z: what the graph, replay and session files make of it.

#include <ATen/ATen.h>
#include <doctest/doctest.h>

#include "core/model/error.h"
#include "tests/core/state_toy.h"

using namespace savepoint;

namespace {

constexpr int64_t kFirst = 4;

// The path of a toy story's thought, as if a codec had turned its keys and values into others.
struct Kept {
    toy::Story story = toy::make_story();
    ThoughtGraph& graph = story.contents.graph;
    StateRows rows;
    ThoughtId id = 0;

    Kept() {
        const std::vector<TokenId> ids = graph.path_tokens(story.first);
        Thought thought;
        thought.edge = EdgeKind::decoded;
        thought.tokens.assign(ids.begin(), ids.begin() + 24);
        thought.stats.assign(24, TokenStats{NAN, NAN, {}});
        thought.shape = {kFirst, 128, 1, "cpu", "float32"};
        thought.latent = std::make_shared<const StoredLatent>(
            StoredLatent{std::string("z\0\xff", 3), "a codec", std::string(64, 'd'), kFirst});
        id = graph.add(thought);
        decode();
    }
    void decode() {
        const StateRows exact = graph.path_rows(story.first, 0, 23);
        KvCache cache = toy::model().make_cache(24);
        const StateRows first = toy::model().prefill(cache, tokens().first(kFirst)).rows;
        const at::Tensor key = exact.key.slice(0, kFirst) * 1.01, value = exact.value.slice(0, kFirst) * 0.99;
        toy::model().restore(cache, {{}, key, value, {}});
        const StateRows last = toy::model().decode(cache, tokens().back()).rows;
        rows = {{}, at::cat({first.key, key, last.key}), at::cat({first.value, value, last.value}), {}};
        Thought& thought = graph.edit(id);
        thought.rows = rows;
        for (int64_t i = kFirst; i < 23; ++i) {
            RowEdit edit;
            edit.position = i;
            for (int64_t block = 0; block < key.size(1); ++block)
                edit.kv.push_back({block, rows.key[i][block], rows.value[i][block]});
            thought.edits.push_back(edit);
        }
    }
    std::span<const TokenId> tokens() const { return graph.at(id).tokens; }
};

}  // namespace

TEST_CASE("replaying a decoded thought gives its keys and values back, and hidden states that follow from them") {
    Kept kept;
    const StateRows replayed = replay_path(toy::model(), kept.graph, kept.id);
    CHECK(replayed.key.equal(kept.rows.key));
    CHECK(replayed.value.equal(kept.rows.value));
    const StateRows exact = replay_path(toy::model(), kept.graph, kept.story.first);
    CHECK(replayed.hidden.slice(0, 0, kFirst).allclose(exact.hidden.slice(0, 0, kFirst), 1e-4, 1e-5));
    CHECK((replayed.hidden[22] - exact.hidden[22]).abs().max().item<double>() > 1e-4);

    // What comes next is the same from the rows and from running the path again.
    LiveCache from_rows(toy::model(), kept.graph);
    const at::Tensor next = from_rows.next_logits(kept.id, 24);
    kept.graph.edit(kept.id).rows = {};
    LiveCache replaying(toy::model(), kept.graph);
    CHECK(next.equal(replaying.next_logits(kept.id, 24)));
}

TEST_CASE("nothing runs over a z that has not been decoded") {
    Kept kept;
    CHECK_FALSE(awaits_decoding(kept.graph.at(kept.id)));
    const int64_t held = kept.graph.bytes();
    kept.graph.drop_kv(kept.id);
    CHECK(awaits_decoding(kept.graph.at(kept.id)));
    CHECK(held - kept.graph.bytes() == static_cast<int64_t>(kept.rows.key.nbytes() + kept.rows.value.nbytes()));
    CHECK_THROWS_AS(replay_path(toy::model(), kept.graph, kept.id), Error);
    LiveCache live(toy::model(), kept.graph);
    CHECK_THROWS_AS(live.rewind(kept.id, 10), Error);
    kept.decode();
    CHECK(live.rewind(kept.id, 24).length() == 24);
}

TEST_CASE("a session stores of it z alone, and what goes on from it comes back") {
    Kept kept;
    LiveCache live(toy::model(), kept.graph);
    Thought branch;
    branch.parent = kept.id;
    branch.prefix = 24;
    branch.edge = EdgeKind::continuation;
    branch.complete = false;
    const ThoughtId child = kept.graph.add(branch);
    toy::generate(kept.graph, live, child, 5);
    const std::vector<TokenId> said = kept.graph.at(child).tokens;
    const toy::Folder folder;
    const std::string path = folder.path("z.savepoint");
    save_session(path, kept.story.contents);

    SessionContents opened = open_session(path);
    const Thought& held = opened.graph.at(kept.id);
    CHECK(held.edge == EdgeKind::decoded);
    CHECK(awaits_decoding(held));
    CHECK_FALSE(held.rows.has_kv());
    CHECK_FALSE(last_rows(held.rows).defined());
    REQUIRE(held.latent);
    CHECK(held.latent->bytes == std::string("z\0\xff", 3));
    CHECK(held.latent->codec == "a codec");
    CHECK(held.latent->codec_digest == std::string(64, 'd'));
    CHECK(held.latent->exact_first == kFirst);
    CHECK(opened.graph.at(child).tokens == said);
    const auto facts = inspect_session(path, true);
    CHECK(facts.problems.empty());
    CHECK(facts.facts["bytes_by_kind"]["z"] == 3);
}

TEST_CASE("a z that does not fit its thought is refused") {
    const Kept kept;
    const auto refused = [&](auto change) {
        Thought thought = kept.graph.at(kept.id);
        thought.edits.clear();
        thought.rows = {};
        thought.stats.clear();
        ThoughtGraph whole;
        whole.add(thought);
        change(thought);
        ThoughtGraph other;
        CHECK_THROWS_AS(other.add(thought), InputError);
    };
    refused([](Thought& t) { t.latent.reset(); });
    refused([](Thought& t) { t.edge = EdgeKind::root; });
    refused([](Thought& t) { t.tokens.resize(5); });
    refused([](Thought& t) { t.shape.prefilled = 24; });
    refused([](Thought& t) { t.prefix = 1; });
    refused([](Thought& t) { t.parent = 1; });
}
