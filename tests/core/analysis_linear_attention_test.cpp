// The linear-attention state against its definition, summed naively in float64.

#include <ATen/ATen.h>
#include <doctest/doctest.h>

#include <vector>

#include "core/analysis/linear_attention.h"
#include "core/model/error.h"

using namespace savepoint;

namespace {

constexpr int64_t kLayers = 2, kHeads = 6, kKvHeads = 2, kDim = 8;

struct Run {
    at::Tensor query, key, value;

    Run slice(int64_t first, int64_t last) const {
        return {query.slice(0, first, last), key.slice(0, first, last), value.slice(0, first, last)};
    }
};

Run random_run(int64_t tokens, double scale = 2) {
    at::manual_seed(7);
    return {at::randn({tokens, kLayers, kHeads, kDim}) * scale, at::randn({tokens, kLayers, kKvHeads, kDim}) * scale,
            at::randn({tokens, kLayers, kKvHeads, kDim})};
}

double phi(FeatureMap map, double x) {
    if (map == FeatureMap::identity) return x;
    return x > 0 ? x + 1 : std::exp(x);
}

at::Tensor naive_features(FeatureMap map, const at::Tensor& x) {
    at::Tensor out = x.to(at::kDouble).contiguous().clone();
    double* p = out.data_ptr<double>();
    for (int64_t i = 0; i < out.numel(); ++i) p[i] = phi(map, p[i]);
    return out;
}

// sum_{i <= t} (phi(q_t) . phi(k_i)) v_i / denominator, token by token and head by head.
at::Tensor naive_read_out(const Run& run, FeatureMap map) {
    const at::Tensor q = naive_features(map, run.query), k = naive_features(map, run.key),
                     v = run.value.to(at::kDouble);
    at::Tensor out = at::zeros_like(q);
    for (int64_t t = 0; t < q.size(0); ++t)
        for (int64_t layer = 0; layer < kLayers; ++layer)
            for (int64_t head = 0; head < kHeads; ++head) {
                const int64_t kv = head / (kHeads / kKvHeads);
                const at::Tensor weights = k.slice(0, 0, t + 1).select(1, layer).select(1, kv).mv(q[t][layer][head]);
                const at::Tensor values = v.slice(0, 0, t + 1).select(1, layer).select(1, kv);
                const double seen = static_cast<double>(t + 1);
                const double denominator = map == FeatureMap::elu1 ? weights.sum().item<double>() : seen;
                out[t][layer][head].copy_(values.t().mv(weights) / denominator);
            }
    return out;
}

double largest(const at::Tensor& x) { return x.abs().max().item<double>(); }

double difference(const at::Tensor& a, const at::Tensor& b) {
    REQUIRE(a.sizes() == b.sizes());
    return largest(a.to(at::kDouble) - b.to(at::kDouble)) / std::max(1.0, largest(b.to(at::kDouble)));
}

LinearAttentionState state_after(const Run& run, FeatureMap map) {
    LinearAttentionState state;
    state.map = map;
    for (int64_t t = 0; t < run.key.size(0); ++t) state.add(run.key[t], run.value[t]);
    return state;
}

const std::vector<FeatureMap> kMaps{FeatureMap::identity, FeatureMap::elu1};

}  // namespace

TEST_CASE("feature maps by name") {
    for (FeatureMap map : kMaps) CHECK(feature_map_from(to_string(map)) == map);
    CHECK_THROWS_AS(feature_map_from("relu"), InputError);
}

TEST_CASE("elu + 1 is positive, exact far below zero, and continuous at it") {
    const at::Tensor x = at::tensor({-30.0f, -1.0f, 0.0f, 2.5f});
    const at::Tensor y = apply(FeatureMap::elu1, x);
    CHECK(y[0].item<float>() == doctest::Approx(9.3576e-14f).epsilon(1e-4));
    CHECK(y[1].item<float>() == doctest::Approx(0.36788f).epsilon(1e-4));
    CHECK(y[2].item<float>() == 1.0f);
    CHECK(y[3].item<float>() == 3.5f);
}

TEST_CASE("the read-out equals the naive sum in float64, both maps, over several chunks") {
    const Run run = random_run(150);
    for (FeatureMap map : kMaps) {
        CAPTURE(to_string(map));
        CHECK(difference(read_out(run.query, run.key, run.value, map), naive_read_out(run, map)) < 1e-5);
    }
}

TEST_CASE("a query head reads the KV head of its group alone") {
    const Run run = random_run(9);
    const at::Tensor before = read_out(run.query, run.key, run.value, FeatureMap::elu1);
    at::Tensor value = run.value.clone();
    value.select(2, 1).mul_(-3);
    const at::Tensor changed = (read_out(run.query, run.key, value, FeatureMap::elu1) - before).abs().amax({0, 1, 3});
    for (int64_t head = 0; head < kHeads; ++head) {
        CAPTURE(head);
        CHECK((changed[head].item<float>() > 0) == (head >= 3));
    }
}

TEST_CASE("the read-out is causal") {
    const Run run = random_run(100);
    at::Tensor value = run.value.clone();
    value.slice(0, 70).fill_(1e6);
    for (FeatureMap map : kMaps) {
        const at::Tensor a = read_out(run.query, run.key, run.value, map), b = read_out(run.query, run.key, value, map);
        CHECK(at::equal(a.slice(0, 0, 70), b.slice(0, 0, 70)));
    }
}

TEST_CASE("the recurrent state equals the prefix sums at every token") {
    const Run run = random_run(40);
    for (FeatureMap map : kMaps) {
        const LinearAttentionStates prefix = prefix_states(run.key, run.value, map);
        LinearAttentionState state;
        state.map = map;
        for (int64_t t = 0; t < 40; ++t) {
            state.add(run.key[t], run.value[t]);
            REQUIRE(difference(state.s, prefix.s[t]) < 1e-4);
            REQUIRE(difference(state.n, prefix.n[t]) < 1e-4);
        }
        const at::Tensor s = at::einsum("tlhf,tlhd->lhfd", {naive_features(map, run.key), run.value.to(at::kDouble)});
        CHECK(difference(state.s, s) < 1e-5);
        CHECK(difference(state.n, naive_features(map, run.key).sum(0)) < 1e-5);
    }
}

TEST_CASE("adding all tokens at once equals adding them one by one") {
    const Run run = random_run(33);
    for (FeatureMap map : kMaps) {
        const LinearAttentionState one_by_one = state_after(run, map);
        LinearAttentionState at_once = state_after(run.slice(0, 10), map);
        at_once.add_all(run.key.slice(0, 10), run.value.slice(0, 10));
        CHECK(at_once.tokens == one_by_one.tokens);
        CHECK(difference(at_once.s, one_by_one.s) < 1e-5);
        CHECK(difference(at_once.n, one_by_one.n) < 1e-5);
    }
}

TEST_CASE("reading on from a state equals reading the whole") {
    const Run run = random_run(140);
    for (FeatureMap map : kMaps) {
        const at::Tensor whole = read_out(run.query, run.key, run.value, map);
        for (int64_t cut : {1, 64, 71}) {
            const LinearAttentionState start = state_after(run.slice(0, cut), map);
            const Run rest = run.slice(cut, 140);
            CHECK(difference(read_out(rest.query, rest.key, rest.value, map, &start), whole.slice(0, cut)) < 1e-5);
        }
    }
}

TEST_CASE("the read-out of one token equals the last of many") {
    const Run run = random_run(50);
    for (FeatureMap map : kMaps) {
        const at::Tensor one = read_out_one(run.query[49], state_after(run, map));
        CHECK(difference(one, read_out(run.query, run.key, run.value, map)[49]) < 1e-5);
    }
}

TEST_CASE("a copy of a state is independent of the original") {
    const Run run = random_run(3);
    LinearAttentionState parent = state_after(run.slice(0, 2), FeatureMap::elu1);
    const at::Tensor seen = parent.s;
    const at::Tensor before = parent.s.clone();
    LinearAttentionState branch = parent;
    branch.add(run.key[2], run.value[2]);
    CHECK(at::equal(parent.s, before));
    parent.add(run.key[2], run.value[2]);
    CHECK(at::equal(seen, before));
    CHECK(at::equal(parent.s, branch.s));
}

TEST_CASE("one token's read-out is its value; rows of S / n are means of values") {
    const Run run = random_run(1);
    const at::Tensor out = read_out(run.query, run.key, run.value, FeatureMap::elu1);
    CHECK(difference(out[0][1][5], run.value[0][1][1]) < 1e-5);
    const at::Tensor rows = normalized_rows(state_after(run, FeatureMap::elu1));
    CHECK(difference(rows[1][1][3], run.value[0][1][1]) < 1e-5);
    const at::Tensor sums = normalized_rows(state_after(run, FeatureMap::identity));
    CHECK(difference(sums[0][1], at::outer(run.key[0][0][1], run.value[0][0][1])) < 1e-5);
}

TEST_CASE("no NaN where every feature underflows or is zero") {
    Run run = random_run(70);
    run.key.fill_(-200);
    run.query.fill_(-200);
    CHECK(read_out(run.query, run.key, run.value, FeatureMap::elu1).isfinite().all().item<bool>());
    CHECK(normalized_rows(state_after(run, FeatureMap::elu1)).isfinite().all().item<bool>());
    run.key.zero_();
    run.query.zero_();
    CHECK(largest(read_out(run.query, run.key, run.value, FeatureMap::identity)) == 0);
}

TEST_CASE("an empty run gives an empty read-out") {
    const Run run = random_run(4).slice(0, 0);
    CHECK(read_out(run.query, run.key, run.value, FeatureMap::elu1).size(0) == 0);
    LinearAttentionState state;
    state.add_all(run.key, run.value);
    CHECK(state.tokens == 0);
}

TEST_CASE("shapes that disagree are refused") {
    const Run run = random_run(4);
    LinearAttentionState state = state_after(run, FeatureMap::elu1);
    CHECK_THROWS_AS(read_out(run.query, run.key, run.value.slice(0, 1), FeatureMap::elu1), InputError);
    CHECK_THROWS_AS(read_out(run.query.slice(2, 0, 5), run.key, run.value, FeatureMap::elu1), InputError);
    CHECK_THROWS_AS(read_out(run.query, run.key, run.value, FeatureMap::identity, &state), InputError);
    CHECK_THROWS_AS(state.add(run.key[0].slice(0, 1), run.value[0].slice(0, 1)), InputError);
    CHECK_THROWS_AS(state.add_all(run.key.slice(3, 1), run.value.slice(3, 1)), InputError);
    CHECK_THROWS_AS(read_out_one(run.query[0], LinearAttentionState{}), InputError);
    CHECK_THROWS_AS(prefix_states(run.query, run.key, FeatureMap::elu1), InputError);
}
