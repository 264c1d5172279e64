// Attention mass against the model's own attention patterns, read by hooks and summed directly.

#include "core/analysis/attention_mass.h"
#include "core/analysis/attention_patterns.h"
#include "tests/core/sidecar_fixture.h"

using namespace savepoint;
using namespace savepoint::testing;

namespace {

struct Observed {
    StateRun run;
    at::Tensor pattern;  // [layers, heads, queries, keys], of one pass
};

const Observed& observed() {
    static const Observed made = [] {
        Observed o;
        o.run.ids = shared_tokenizer().encode(
            "The sea is blue because water absorbs red light. A lighthouse stands on the rock, and at night its beam "
            "turns slowly over the water, so that ships far away can see where the coast begins. Nobody has lived "
            "there since the keeper left, but twice a year a boat comes with a man who cleans the glass and looks "
            "after the batteries and the lamp.");
        std::vector<at::Tensor> layers(static_cast<size_t>(shared_model().config().layers));
        Hooks hooks;
        for (size_t layer = 0; layer < layers.size(); ++layer)
            hooks.read("blocks." + std::to_string(layer) + ".attn.hook_pattern",
                       [&layers, layer](const at::Tensor& a) { layers[layer] = a[0].clone(); });
        ForwardOptions options;
        options.hooks = &hooks;
        KvCache cache = shared_model().make_cache(static_cast<int64_t>(o.run.ids.size()));
        o.run.rows = shared_model().prefill(cache, o.run.ids, options).rows;
        o.pattern = at::stack(layers);
        return o;
    }();
    return made;
}

// Key by key and query by query, in float64.
at::Tensor summed_directly(const at::Tensor& pattern, int64_t tokens) {
    at::Tensor sums = at::zeros({pattern.size(0), pattern.size(1), tokens}, at::kDouble);
    for (int64_t key = 0; key < tokens; ++key)
        for (int64_t query = key + 1; query < tokens; ++query)
            sums.select(2, key) += pattern.select(2, query).select(2, key).to(at::kDouble);
    return sums;
}

}  // namespace

TEST_CASE("attention mass: the model's own patterns, summed over the later queries") {
    const auto tokens = static_cast<int64_t>(observed().run.ids.size());
    REQUIRE(tokens > 64);  // more than one piece
    const at::Tensor mass = attention_mass(shared_model(), observed().run).received();
    REQUIRE(mass.sizes() == at::IntArrayRef({30, 9, tokens}));
    CHECK(largest_difference(mass, summed_directly(observed().pattern, tokens).to(at::kFloat)) < 1e-3f);
    // What is received and what each token keeps for itself is what all of them pay: one query's worth each.
    const at::Tensor own = observed().pattern.diagonal(0, 2, 3).sum(-1);
    CHECK(largest_difference(mass.sum(-1) + own, at::full({30, 9}, static_cast<double>(tokens))) < 1e-2f);
    CHECK(mass.select(2, tokens - 1).abs().max().item<float>() == 0);  // nothing came after it
}

TEST_CASE("attention mass: a run that grows token by token or in pieces has the mass of the whole") {
    const StateRun& run = observed().run;
    const auto tokens = static_cast<int64_t>(run.ids.size());
    AttentionMass mass;
    int64_t first = 0;
    for (const int64_t piece : {int64_t{1}, int64_t{2}, int64_t{30}, int64_t{0}, tokens - 33}) {
        mass.add(shared_model(), run.rows.slice(first, piece), std::span(run.ids).subspan(first, piece),
                 run.rows.key.narrow(0, 0, first + piece));
        first += piece;
        CHECK(mass.tokens() == first);
        const at::Tensor expected = summed_directly(observed().pattern, first).to(at::kFloat);
        CHECK(largest_difference(mass.received(), expected) < 1e-3f);
    }
    const AttentionMass before = mass;  // a copy is independent of what is added to the other
    CHECK_THROWS_AS(mass.add(shared_model(), run.rows.slice(0, 2), std::span(run.ids).subspan(0, 1), run.rows.key),
                    InputError);
    CHECK_THROWS_AS(mass.add(shared_model(), run.rows.slice(0, 1), std::span(run.ids).subspan(0, 1), run.rows.key),
                    InputError);
    CHECK(at::equal(before.received(), mass.received()));
}
