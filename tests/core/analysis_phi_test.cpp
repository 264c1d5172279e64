// Feature maps, their states and forms against the definitions, summed naively in float64, and closed forms.

#include <ATen/ATen.h>

#include <cmath>
#include <vector>

#include "core/analysis/hedgehog_fit.h"
#include "core/analysis/phi_state.h"
#include "core/analysis/state_forms.h"
#include "core/model/error.h"

#undef CHECK
#include <doctest/doctest.h>

using namespace savepoint;

namespace {

constexpr int64_t kLayers = 2, kHeads = 6, kKvHeads = 2, kDim = 8;

struct Run {
    at::Tensor query, key, value;
};

Run random_run(int64_t tokens, double scale = 1.5) {
    at::manual_seed(7);
    return {at::randn({tokens, kLayers, kHeads, kDim}) * scale, at::randn({tokens, kLayers, kKvHeads, kDim}) * scale,
            at::randn({tokens, kLayers, kKvHeads, kDim})};
}

std::shared_ptr<const Phi> phi_of(PhiKind kind) {
    PhiSettings settings;
    settings.kind = kind;
    settings.favor_features = 20;
    settings.dpfp_nu = 2;
    if (kind != PhiKind::hedgehog) return std::make_shared<Phi>(settings, kDim);
    at::manual_seed(3);
    return std::make_shared<Phi>(Phi::hedgehog(settings, at::randn({kLayers, kHeads, kDim, kDim}) * 0.4,
                                               at::randn({kLayers, kKvHeads, kDim, kDim}) * 0.4));
}

// phi(x) of rows [tokens, layers, heads, d] as the definitions say, in float64. favor and hedgehog are checked by cases
// of their own; here their logarithm is taken as it is.
at::Tensor naive(const Phi& phi, const at::Tensor& rows, bool query) {
    const at::Tensor x = rows.to(at::kDouble);
    switch (phi.settings().kind) {
        case PhiKind::identity:
            return x;
        case PhiKind::elu1:
            return at::elu(x) + 1;
        case PhiKind::relu:
            return at::relu(x);
        case PhiKind::squared_relu:
            return at::relu(x) * at::relu(x);
        case PhiKind::exp:
            return at::exp(x);
        case PhiKind::dpfp: {
            const at::Tensor r = at::relu(at::cat({x, -x}, -1));
            std::vector<at::Tensor> columns;
            for (int64_t j = 1; j <= 2; ++j)
                for (int64_t i = 0; i < 2 * kDim; ++i)
                    columns.push_back(r.select(3, i) * r.select(3, (i - j + 2 * kDim) % (2 * kDim)));
            return at::stack(columns, 3);
        }
        default:
            return query ? phi.queries(x) : phi.keys(x).exp();
    }
}

// The mean of the values, weighted by phi(q_t) phi(k_i); of signed phi the sum over t.
at::Tensor naive_read_out(const Phi& phi, const Run& run) {
    const at::Tensor q = naive(phi, run.query, true), k = naive(phi, run.key, false), v = run.value.to(at::kDouble);
    at::Tensor out = at::zeros(run.query.sizes(), at::kDouble);
    for (int64_t t = 0; t < q.size(0); ++t)
        for (int64_t layer = 0; layer < kLayers; ++layer)
            for (int64_t head = 0; head < kHeads; ++head) {
                const int64_t kv = head / (kHeads / kKvHeads);
                const at::Tensor weights = k.slice(0, 0, t + 1).select(1, layer).select(1, kv).mv(q[t][layer][head]);
                const at::Tensor mixed = v.slice(0, 0, t + 1).select(1, layer).select(1, kv).t().mv(weights);
                const double sum = phi.is_signed() ? static_cast<double>(t + 1) : weights.sum().item<double>();
                if (sum > 0) out[t][layer][head].copy_(mixed / sum);
            }
    return out;
}

double largest(const at::Tensor& x) { return x.abs().max().item<double>(); }
double difference(const at::Tensor& a, const at::Tensor& b) {
    REQUIRE(a.sizes() == b.sizes());
    return largest(a.to(at::kDouble) - b.to(at::kDouble)) / std::max(1.0, largest(b.to(at::kDouble)));
}

PhiState state_after(const std::shared_ptr<const Phi>& phi, const Run& run, int64_t tokens, int64_t at_once = 1) {
    PhiState state;
    state.phi = phi;
    for (int64_t t = 0; t < tokens; t += at_once) {
        const int64_t end = std::min(t + at_once, tokens);
        state.add(run.key.slice(0, t, end), run.value.slice(0, t, end));
    }
    return state;
}

// n on its own scale, exponentials included.
at::Tensor true_n(const PhiState& state) {
    const at::Tensor n = state.n.to(at::kDouble);
    return state.log_max.defined() ? n * state.log_max.to(at::kDouble).exp().unsqueeze(-1) : n;
}

}  // namespace

TEST_CASE("read-out of every phi equals its definition in float64, over chunks") {
    const Run run = random_run(150);
    for (const PhiKind kind : all_phi()) {
        CAPTURE(to_string(kind));
        const auto phi = phi_of(kind);
        const PhiReadOut out = read_out(*phi, run.query, run.key, run.value);
        CHECK(difference(out.values, naive_read_out(*phi, run)) < 2e-4);
        CHECK(phi_from(to_string(kind)) == kind);
    }
    CHECK_THROWS_AS(phi_from("swish"), InputError);
}

TEST_CASE("states token by token, at once, and from checkpoints are the same, and their read-out is the run's") {
    const Run run = random_run(150);
    for (const PhiKind kind : all_phi()) {
        CAPTURE(to_string(kind));
        const auto phi = phi_of(kind);
        const PhiRun checkpoints(phi, run.key, run.value, 32);
        const PhiReadOut all = read_out(*phi, run.query, run.key, run.value);
        for (const int64_t tokens : {1, 32, 100, 150}) {
            const PhiState one = state_after(phi, run, tokens), many = state_after(phi, run, tokens, 70),
                           kept = checkpoints.after(tokens);
            CHECK(one.tokens == tokens);
            CHECK(difference(true_n(many), true_n(one)) < 1e-5);
            CHECK(difference(true_n(kept), true_n(one)) < 1e-5);
            const at::Tensor n = naive(*phi, run.key.slice(0, 0, tokens), false).sum(0);
            CHECK(difference(true_n(one), n) < 1e-5);
            if (kind == PhiKind::relu || kind == PhiKind::squared_relu) continue;  // may mask at the start
            const FormValues read = form_values(StateForm::read_out, kept, run.query[tokens - 1]);
            CHECK(difference(read.values, all.values[tokens - 1]) < 2e-4);
        }
        CHECK_THROWS_AS(checkpoints.after(151), InputError);
    }
}

TEST_CASE("exponential sums stay finite and exact when keys are far beyond what exp can hold") {
    Run run = random_run(40);
    run.key = run.key * 60;  // exp(200) and more
    const auto phi = phi_of(PhiKind::exp);
    const PhiState one = state_after(phi, run, 40);
    CHECK(one.s.isfinite().all().item<bool>());
    const at::Tensor k = run.key.to(at::kDouble), v = run.value.to(at::kDouble);
    const at::Tensor weights = (k - k.amax(0)).exp();  // each feature on its own scale: a ratio does not mind
    const at::Tensor expected = (weights.unsqueeze(-1) * v.unsqueeze(-2)).sum(0) / weights.sum(0).unsqueeze(-1);
    const FormValues rows = form_values(StateForm::rows, one);
    const at::Tensor got = rows.values.view(expected.sizes()).to(at::kDouble);
    // A feature whose largest key lies e^80 below the head's has left float32: it is masked, not wrong.
    const at::Tensor kept = (k.amax(0) > k.amax({0, 3}).unsqueeze(-1) - 80).unsqueeze(-1);
    CHECK(largest((got - expected) * kept) < 1e-4);
    CHECK(got.isfinite().all().item<bool>());
}

TEST_CASE("FAVOR+: its mean over many features is softmax attention's kernel; directions are orthogonal and seeded") {
    at::manual_seed(2);
    const at::Tensor q = at::randn({6, 1, 1, kDim}) * 0.6, k = at::randn({6, 1, 1, kDim}) * 0.6;
    PhiSettings settings;
    settings.kind = PhiKind::favor;
    settings.favor_features = 4096;
    const Phi phi(settings, kDim);
    const at::Tensor kernel =
        at::mm(phi.keys(q.to(at::kDouble)).exp().view({6, -1}), phi.keys(k.to(at::kDouble)).exp().view({6, -1}).t());
    const at::Tensor exact = (at::mm(q.view({6, -1}), k.view({6, -1}).t()).to(at::kDouble) / std::sqrt(8.0)).exp();
    CHECK(largest(kernel / exact - 1) < 0.15);
    settings.favor_seed = 2;
    CHECK(difference(Phi(settings, kDim).keys(k), phi.keys(k)) > 1e-3);
    // phi(0)_j = 1 / sqrt(m), whatever the directions.
    CHECK(largest(phi.keys(at::zeros({1, 1, 1, kDim})).exp() - 1 / 64.0) < 1e-6);
    settings.favor_features = 0;
    CHECK_THROWS_AS(Phi(settings, kDim), InputError);
}

TEST_CASE("forms: closed forms of states made by hand") {
    const auto phi = phi_of(PhiKind::relu);
    PhiState state;
    state.phi = phi;
    // Two tokens whose keys are unit vectors: S has their values in rows 0 and 1, n is 1 there and 0 elsewhere.
    at::Tensor key = at::zeros({2, 1, 1, kDim}), value = at::zeros({2, 1, 1, kDim});
    key[0][0][0][0] = 1, key[1][0][0][1] = 1;
    value[0][0][0][3] = -6, value[1][0][0][5] = 2;
    state.add(key, value);
    const FormValues rows = form_values(StateForm::rows, state);
    CHECK(rows.masked == kDim - 2);
    CHECK(rows.values.view({kDim, kDim})[0][3].item<float>() == -6);
    CHECK(rows.values.abs().sum().item<float>() == 8);
    const at::Tensor mean = form_values(StateForm::mean, state).values.view({kDim, kDim});
    CHECK(mean[0][3].item<float>() == -3);
    const at::Tensor singular = form_values(StateForm::singular_values, state).values.flatten();
    CHECK(singular[0].item<float>() == doctest::Approx(3));
    CHECK(singular[1].item<float>() == doctest::Approx(1));
    CHECK(singular[2].item<float>() == doctest::Approx(0).scale(1));
    const at::Tensor vectors = form_values(StateForm::singular_vectors, state).values.flatten();
    CHECK(vectors[0].item<float>() == doctest::Approx(-1));        // u_1
    CHECK(vectors[kDim + 3].item<float>() == doctest::Approx(1));  // v_1, its largest entry positive
    // A query that points at the second key reads its value; one that points nowhere is masked.
    at::Tensor query = at::zeros({1, 2, kDim});
    query[0][0][1] = 5;
    const FormValues read = form_values(StateForm::mean_query, state, query);
    CHECK(read.values[0][0][5].item<float>() == doctest::Approx(2));
    CHECK(read.masked == 1);
    CHECK(largest(read.values[0][1]) == 0);
    for (const StateForm form : all_forms()) {
        CHECK(form_from(to_string(form)) == form);
        CHECK_THROWS_AS(form_values(form, PhiState{phi, {}, {}, {}, {}, {}, 0}, query), InputError);
    }
}

TEST_CASE("a signed denominator that cancels is masked and counted") {
    PhiState state;
    state.phi = phi_of(PhiKind::identity);
    at::Tensor key = at::ones({2, 1, 1, kDim});
    key[1].fill_(-1);
    key[1][0][0][2] = 3;
    state.add(key, at::ones({2, 1, 1, kDim}));
    const FormValues rows = form_values(StateForm::rows, state);
    CHECK(rows.masked == kDim - 1);
    CHECK(rows.values.isfinite().all().item<bool>());
    CHECK(rows.values.view({kDim, kDim})[2][0].item<float>() == 1);
}

TEST_CASE("weights prune and weight: 0 and 1 give the sums over the kept tokens, 2 counts a token twice") {
    const Run run = random_run(20);
    for (const PhiKind kind : {PhiKind::elu1, PhiKind::exp, PhiKind::identity}) {
        CAPTURE(to_string(kind));
        const auto phi = phi_of(kind);
        at::Tensor weights = at::zeros({20, kLayers, kKvHeads});
        weights.slice(0, 12) = 1;
        PhiState pruned, window, twice, doubled;
        pruned.phi = window.phi = twice.phi = doubled.phi = phi;
        pruned.add(run.key, run.value, weights);
        window.add(run.key.slice(0, 12), run.value.slice(0, 12));
        const auto rows = [](const PhiState& state) { return form_values(StateForm::mean, state).values; };
        const auto read = [&](const PhiState& state) {
            return form_values(StateForm::read_out, state, run.query[19]).values;
        };
        CHECK(difference(read(pruned), read(window)) < 1e-4);
        CHECK(difference(pruned.weight, window.weight) == 0);
        if (kind != PhiKind::exp) CHECK(difference(rows(pruned), rows(window)) < 1e-5);
        twice.add(run.key, run.value);
        twice.add(run.key.slice(0, 3, 4), run.value.slice(0, 3, 4));
        at::Tensor two = at::ones({20, kLayers, kKvHeads});
        two[3] = 2;
        doubled.add(run.key, run.value, two);
        CHECK(difference(read(doubled), read(twice)) < 1e-4);
    }
}

TEST_CASE("hedgehog learns softmax attention: its loss falls toward the entropy, and its read-out comes nearer to z") {
    ModelConfig config;
    config.layers = kLayers, config.heads = kHeads, config.kv_heads = kKvHeads, config.head_dim = kDim;
    at::manual_seed(4);
    const auto run_of = [](int64_t tokens) {
        AttentionRun run{at::randn({tokens, kLayers, kHeads, kDim}) * 1.5,
                         at::randn({tokens, kLayers, kKvHeads, kDim}) * 1.5,
                         at::randn({tokens, kLayers, kKvHeads, kDim}),
                         {}};
        const at::Tensor k = run.key.repeat_interleave(kHeads / kKvHeads, 2),
                         v = run.value.repeat_interleave(kHeads / kKvHeads, 2);
        at::Tensor scores = at::einsum("tlhd,ilhd->lhti", {run.query, k}) / std::sqrt(8.0);
        scores = scores.masked_fill(at::ones({tokens, tokens}, at::kBool).triu(1), -INFINITY).softmax(-1);
        run.z = at::einsum("lhti,ilhd->tlhd", {scores, v});
        return run;
    };
    const AttentionRun held_out = run_of(48);
    const auto error = [&](const Phi& phi) {
        return difference(read_out(phi, held_out.query, held_out.key, held_out.value).values, held_out.z);
    };
    HedgehogFit fit(config, {});
    const double before = error(fit.finish()), first = fit.step(run_of(48));
    for (int i = 0; i < 200; ++i) fit.step(run_of(48));
    const AttentionRun last = run_of(48);
    const double after = fit.step(last), least = HedgehogFit::entropy(last);
    CHECK(after >= least - 1e-4);
    CHECK(after - least < 0.65 * (first - least));
    CHECK(error(fit.finish()) < before);
    CHECK_THROWS_AS(fit.step(AttentionRun{}), InputError);
    CHECK_THROWS_AS(Phi::hedgehog({}, at::zeros({2, 6, 8, 8}), at::zeros({2, 4, 8, 8})), InputError);
    CHECK_THROWS_AS(phi_of(PhiKind::hedgehog)->keys(at::zeros({3, 1, 2, kDim})), InputError);
}
