#include "core/analysis/attention_patterns.h"
#include "core/analysis/lens.h"
#include "core/model/sampler.h"
#include "tests/core/sidecar_fixture.h"

using namespace savepoint;
using namespace savepoint::testing;

namespace {

StateRun prefilled(const std::string& text) {
    StateRun run{shared_tokenizer().encode(text), {}};
    KvCache cache = shared_model().make_cache(static_cast<int64_t>(run.ids.size()));
    run.rows = shared_model().prefill(cache, run.ids).rows;
    return run;
}

const StateRun& sea() {
    static const StateRun run = prefilled("The sea is blue because water absorbs red light. The capital of France is");
    return run;
}

LensMap seen(const at::Tensor& states, std::shared_ptr<const TunedLens> tuned = nullptr, TokenId target = -1,
             TokenId distractor = -1) {
    Lens lens(shared_model(), sea(), states, std::move(tuned), 0, static_cast<int64_t>(sea().ids.size()), target,
              distractor);
    while (lens.step()) {
    }
    CHECK(lens.progress() == 1);
    return lens.map();
}

// Small, for the arithmetic; figures of merit need more text.
const TunedLensFit& small_fit() {
    static const auto fit = [] {
        LensText text = lens_text(shared_tokenizer(), 1536, 128);
        auto made = std::make_unique<TunedLensFit>(shared_model(), text.fit, text.held_out, /*judged_every=*/3, 1e-2);
        double before = -1;
        while (made->step()) {
            CHECK(made->progress() >= before);
            before = made->progress();
        }
        return made;
    }();
    return *fit;
}

// rms norm and head by their definitions.
at::Tensor unembedded(const at::Tensor& resid) {
    const Weights& w = *shared_weights();
    const at::Tensor normed =
        resid / (resid.square().mean(-1, true) + w.config().norm_eps).sqrt() * w.tensor("final_norm");
    return at::linear(normed, w.tensor("embed"));
}

}  // namespace

TEST_CASE("lens: the last layer says what the model says, every layer what its definition gives") {
    const TokenId paris = shared_tokenizer().encode(" Paris")[0], london = shared_tokenizer().encode(" London")[0];
    const LensMap map = seen(sea().rows.hidden, nullptr, paris, london);
    const int64_t last = map.tokens - 1;
    REQUIRE(map.read == map.tokens);
    for (int64_t token = 0; token < map.tokens; ++token) {
        const auto at = static_cast<size_t>(token * 30 + 29);
        CHECK(map.kl[at] == 0);
        const at::Tensor logits = shared_model().unembed(sea().rows.hidden[token][29]);
        CHECK(map.top[at * kLensTop] == logits.argmax().item<TokenId>());
        CHECK(map.entropy[at] == doctest::Approx(describe(logits).entropy).epsilon(1e-3));
    }
    CHECK(map.top[static_cast<size_t>(last * 30 + 29) * kLensTop] == paris);
    CHECK(map.difference[static_cast<size_t>(last * 30 + 29)] > 1);
    CHECK(std::isnan(map.next_probability[static_cast<size_t>(last * 30 + 29)]));
    for (const int64_t layer : {0, 8, 22}) {
        const at::Tensor expected = unembedded(sea().rows.hidden[6][layer]);
        const auto at = static_cast<size_t>(6 * 30 + layer);
        CHECK(map.difference[at] == doctest::Approx((expected[paris] - expected[london]).item<float>()).epsilon(1e-3));
        const at::Tensor p = at::softmax(expected, 0);
        CHECK(map.top_probability[at * kLensTop] == doctest::Approx(p.max().item<float>()).epsilon(1e-3));
        CHECK(map.next_probability[at] == doctest::Approx(p[sea().ids[7]].item<float>()).epsilon(1e-3));
        const at::Tensor of_model = unembedded(sea().rows.hidden[6][29]);
        CHECK(map.kl[at] == doctest::Approx(kl_divergence(of_model, expected).item<float>()).epsilon(2e-3));
    }
}

TEST_CASE("lens: other states are read, against the run's own outcome") {
    const LensMap map = seen(sea().rows.hidden.roll(1, 0));
    const LensMap own = seen(sea().rows.hidden);
    for (const int64_t layer : {3, 29})
        CHECK(map.top[static_cast<size_t>(8 * 30 + layer) * kLensTop] ==
              own.top[static_cast<size_t>(7 * 30 + layer) * kLensTop]);
    CHECK(map.kl[static_cast<size_t>(8 * 30 + 29)] > 0.1f);
    CHECK_THROWS_AS(seen(sea().rows.hidden.narrow(1, 0, 29)), InputError);
    CHECK_THROWS_AS(Lens(shared_model(), sea(), sea().rows.hidden, nullptr, 3, 99, -1, -1), InputError);
}

TEST_CASE("tuned lens: the least squares solution, which is the logit lens at the last layer") {
    const auto lens = small_fit().result();
    // The same equations from all rows at once.
    std::vector<at::Tensor> rows;
    for (const auto& sequence : lens_text(shared_tokenizer(), 1536, 128).fit) {
        KvCache cache = shared_model().make_cache(128);
        rows.push_back(shared_model().prefill(cache, sequence).rows.hidden.narrow(0, 4, 124).to(at::kDouble));
    }
    const at::Tensor states = at::cat(rows);
    const auto scaled = [&](int64_t layer) {
        const at::Tensor x = states.select(1, layer);
        return x / x.square().mean(-1, true).sqrt();
    };
    const int64_t n = states.size(0);
    const at::Tensor x = scaled(14), y = scaled(29);
    // A ridge is as many more equations: sqrt(lambda) I D = 0.
    const at::Tensor left = at::cat({at::cat({x, at::ones({n, 1}, at::kDouble)}, 1),
                                     at::cat({at::eye(576, at::kDouble) * std::sqrt(1e-2 * static_cast<double>(n)),
                                              at::zeros({576, 1}, at::kDouble)},
                                             1)});
    const at::Tensor right = at::cat({y - x, at::zeros({576, 576}, at::kDouble)});
    const at::Tensor solution = std::get<0>(at::linalg_lstsq(left, right));
    const at::Tensor expected = x + at::matmul(x, solution.narrow(0, 0, 576)) + solution[576];
    CHECK(largest_difference(lens->apply(states.select(1, 14).to(at::kFloat), 14).to(at::kDouble), expected) < 1e-3f);
    CHECK(largest_difference(lens->apply(sea().rows.hidden.select(1, 29), 29),
                             sea().rows.hidden.select(1, 29) /
                                 sea().rows.hidden.select(1, 29).square().mean(-1, true).sqrt()) < 1e-3f);
    CHECK(lens->figures().kl_tuned[29] < 1e-3f);
    CHECK(lens->figures().held_out_tokens == 42);  // more than are judged at once

    // Its figure is the mean over those tokens.
    KvCache cache = shared_model().make_cache(128);
    const auto held_out = lens_text(shared_tokenizer(), 1536, 128).held_out.front();
    const at::Tensor kept = shared_model().prefill(cache, held_out).rows.hidden.narrow(0, 4, 124).slice(0, 0, 124, 3);
    const at::Tensor mean = kl_divergence(shared_model().unembed(kept.select(1, 29).contiguous()),
                                          shared_model().unembed(kept.select(1, 20).contiguous()))
                                .mean();
    CHECK(lens->figures().kl_logit[20] == doctest::Approx(mean.item<double>()).epsilon(1e-3));
}

TEST_CASE(
    "tuned lens: on held-out text it is nearer to the model than the logit lens below, and comes back from its file") {
    const auto lens = small_fit().result();
    double logit = 0, tuned = 0;
    for (size_t layer = 0; layer < 25; ++layer)
        logit += lens->figures().kl_logit[layer], tuned += lens->figures().kl_tuned[layer];
    CHECK(tuned < 0.8 * logit);
    const TemporaryFolder folder("lens");
    lens->save(folder.file("lens.safetensors"), "model");
    const auto back = TunedLens::load(folder.file("lens.safetensors"), shared_model().config(), "model");
    CHECK(same_bits(back->apply(sea().rows.hidden.select(1, 9), 9), lens->apply(sea().rows.hidden.select(1, 9), 9)));
    CHECK(back->figures().kl_tuned == lens->figures().kl_tuned);
    CHECK(back->figures().fitted_tokens == lens->figures().fitted_tokens);
    CHECK_THROWS_AS(TunedLens::load(folder.file("lens.safetensors"), shared_model().config(), "another"), FileError);
    CHECK_THROWS_AS(TunedLensFit(shared_model(), {first_ids(40)}, {first_ids(40)}), InputError);
}

TEST_CASE("attention patterns: as the model's own hooks show them") {
    const int64_t tokens = static_cast<int64_t>(sea().ids.size());
    std::vector<at::Tensor> expected(30);
    Hooks hooks;
    for (size_t layer = 0; layer < 30; ++layer)
        hooks.read("blocks." + std::to_string(layer) + ".attn.hook_pattern",
                   [&expected, layer](const at::Tensor& a) { expected[layer] = a[0].clone(); });
    ForwardOptions options;
    options.hooks = &hooks;
    KvCache cache = shared_model().make_cache(tokens);
    shared_model().prefill(cache, sea().ids, options);
    for (const int64_t position : {int64_t{0}, int64_t{5}, tokens - 1}) {
        const at::Tensor pattern = attention_pattern(shared_model(), sea(), position);
        REQUIRE(pattern.sizes() == at::IntArrayRef({30, 9, position + 1}));
        CHECK(largest_difference(pattern.sum(-1), at::ones({30, 9})) < 1e-5f);
        for (const int64_t layer : {0, 13, 29})
            CHECK(largest_difference(
                      pattern[layer],
                      expected[static_cast<size_t>(layer)].select(1, position).narrow(1, 0, position + 1)) < 1e-4f);
    }
    CHECK_THROWS_AS(attention_pattern(shared_model(), sea(), tokens), InputError);
}

TEST_CASE("attention patterns: softmax by its definition in float64") {
    const at::Tensor pattern = attention_pattern(shared_model(), sea(), 9);
    const at::Tensor q = shared_model().rotate(shared_model().queries(sea().rows, sea().ids), 0).to(at::kDouble);
    const at::Tensor k = shared_model().rotate(sea().rows.key, 0).to(at::kDouble);
    for (const auto& [layer, head] : {std::pair<int64_t, int64_t>{4, 0}, {17, 5}, {29, 8}}) {
        std::vector<double> weight;
        double sum = 0;
        for (int64_t i = 0; i <= 9; ++i) {
            weight.push_back(std::exp(at::dot(q[9][layer][head], k[i][layer][head / 3]).item<double>() / 8));
            sum += weight.back();
        }
        for (int64_t i = 0; i <= 9; ++i)
            CHECK(pattern[layer][head][i].item<double>() ==
                  doctest::Approx(weight[static_cast<size_t>(i)] / sum).epsilon(1e-4));
    }
}
