// The promise of exact restores on the real model, whose decode step streams quantised weights.

#include <ATen/ATen.h>
#include <doctest/doctest.h>

#include <cstdlib>

#include "core/model/device.h"
#include "core/model/sampler.h"
#include "tests/core/state_toy.h"

using namespace savepoint;

namespace {

constexpr int64_t kPrompt = 40, kSteps = 18;

struct Run {
    ThoughtId id = 0;
    std::vector<at::Tensor> logits;  // after each generated token
};

void go_on(const Transformer& model, ThoughtGraph& graph, LiveCache& live, Run& run, at::Tensor logits) {
    for (int64_t i = 0; i < kSteps; ++i) {
        const TokenId token = sample(logits, {.seed = 5}, graph.path_length(run.id));
        const ForwardOutput out = model.decode(live.cache(), token);
        graph.append(run.id, token, {NAN, NAN, {}}, out.rows);
        live.advanced(run.id);
        run.logits.push_back(logits = out.logits[0].clone());
    }
}

Run run_prompt(const Transformer& model, ThoughtGraph& graph, LiveCache& live) {
    Thought thought;
    for (int64_t i = 0; i < kPrompt; ++i) thought.tokens.push_back(static_cast<TokenId>(100 + 37 * i));
    const ForwardOutput out = model.prefill_chunked(live.cache(), thought.tokens, 16);
    thought.rows = out.rows;
    thought.shape = {kPrompt, 16, threads(), "cpu", "float32"};
    thought.complete = false;
    Run run{graph.add(thought), {}};
    live.advanced(run.id);
    go_on(model, graph, live, run, out.logits[0]);
    return run;
}

// Half of the hidden state after the tenth block, and another key and value in the sixth.
Run run_edited(const Transformer& model, ThoughtGraph& graph, LiveCache& live, ThoughtId parent) {
    const int64_t position = kPrompt + 4;
    const StateRows row = graph.path_rows(parent, position, 1);
    const RowEdit edit{position, 9, row.hidden[0][9] * 0.5, {{5, row.key[0][5] * 0.9, row.value[0][5] * 1.1}}};
    Thought thought;
    thought.parent = parent;
    thought.prefix = position;
    thought.edge = EdgeKind::intervention;
    thought.edits = {edit};
    thought.shape = {0, 16, threads(), "cpu", "float32"};
    thought.complete = false;
    Run run{graph.add(thought), {}};
    ForwardOptions options;
    options.edit = &edit;
    const TokenId token = graph.path_tokens(parent)[position];
    const ForwardOutput out = model.decode(live.rewind(parent, position), token, options);
    graph.append(run.id, token, {NAN, NAN, {}}, out.rows);
    live.advanced(run.id);
    go_on(model, graph, live, run, out.logits[0]);
    return run;
}

void check(const Transformer& model, const ThoughtGraph& graph, const Run& run) {
    const std::vector<TokenId> tokens = graph.path_tokens(run.id);
    const auto from = static_cast<int64_t>(tokens.size()) - kSteps + 1;
    LiveCache live(model, graph);
    CHECK(toy::same_bits(live.next_logits(run.id, from), run.logits[0]));
    KvCache& cache = live.rewind(run.id, from);
    for (int64_t i = 0; i < 16; ++i)
        CHECK_MESSAGE(toy::same_bits(model.decode(cache, tokens[from + i]).logits[0], run.logits[i + 1]), "step ", i);
}

}  // namespace

TEST_CASE("the real model: restores, saved sessions and replays are bit for bit") {
    const char* path = std::getenv("SAVEPOINT_MODEL");
    if (!path) {
        MESSAGE("skipped: SAVEPOINT_MODEL is not set");
        return;
    }
    const Transformer model(Weights::from_gguf(path));
    SessionContents contents{toy::identity(), {}, 0, {}};
    contents.identity.model_config = model.config();
    ThoughtGraph& graph = contents.graph;
    LiveCache live(model, graph);
    const Run first = run_prompt(model, graph, live), edited = run_edited(model, graph, live, first.id);
    CHECK_FALSE(toy::same_bits(edited.logits[0], first.logits[5]));
    for (const Run* run : {&first, &edited}) check(model, graph, *run);

    const toy::Folder folder;
    save_session(folder.path("a"), contents);
    const SessionContents opened = open_session(folder.path("a"));
    CHECK(toy::difference(contents, opened) == "");
    for (const Run* run : {&first, &edited}) check(model, opened.graph, *run);

    for (const Run* run : {&first, &edited}) {
        graph.drop_hidden(run->id);
        graph.drop_kv(run->id);
        graph.edit(run->id).rows.last.reset();
    }
    for (const Run* run : {&first, &edited}) check(model, graph, *run);
}
