// Draws against closed forms.
#include "core/model/sampler.h"
#include "tests/core/model_fixture.h"

using namespace savepoint;
using namespace savepoint::testing;

namespace {

at::Tensor logits_of(std::vector<double> probabilities) { return at::tensor(probabilities).log().to(at::kFloat); }

std::vector<double> frequencies(const at::Tensor& logits, const SamplerSettings& settings, int draws = 20'000) {
    std::vector<double> counts(logits.numel(), 0.0);
    for (int i = 0; i < draws; ++i) counts[sample(logits, settings, i)] += 1.0 / draws;
    return counts;
}

void check_frequencies(const std::vector<double>& seen, const std::vector<double>& expected) {
    for (size_t i = 0; i < expected.size(); ++i) {
        if (expected[i] == 0)
            CHECK(seen[i] == 0);
        else
            CHECK(std::abs(seen[i] - expected[i]) < 0.015);
    }
}

SamplerSettings settings_of(float temperature, int32_t top_k, float top_p, float min_p) {
    SamplerSettings settings;
    settings.temperature = temperature;
    settings.top_k = top_k;
    settings.top_p = top_p;
    settings.min_p = min_p;
    settings.seed = 5;
    return settings;
}

}  // namespace

TEST_CASE("sampler: frequencies follow the cuts") {
    const at::Tensor logits = logits_of({0.1, 0.4, 0.2, 0.3});
    check_frequencies(frequencies(logits, settings_of(1, 0, 1, 0)), {0.1, 0.4, 0.2, 0.3});
    check_frequencies(frequencies(logits, settings_of(1, 2, 1, 0)), {0, 4.0 / 7, 0, 3.0 / 7});
    check_frequencies(frequencies(logits, settings_of(1, 0, 0.65f, 0)), {0, 4.0 / 7, 0, 3.0 / 7});
    check_frequencies(frequencies(logits, settings_of(1, 0, 0.85f, 0)), {0, 4.0 / 9, 2.0 / 9, 3.0 / 9});
    check_frequencies(frequencies(logits, settings_of(1, 0, 1, 0.45f)), {0, 4.0 / 9, 2.0 / 9, 3.0 / 9});
    check_frequencies(frequencies(logits, settings_of(1, 3, 0.7f, 0)), {0, 4.0 / 7, 0, 3.0 / 7});
    // At temperature 1/2 probabilities are squared: 1, 16, 4, 9 of 30.
    check_frequencies(frequencies(logits, settings_of(0.5f, 0, 1, 0)), {1.0 / 30, 16.0 / 30, 4.0 / 30, 9.0 / 30});
    check_frequencies(frequencies(logits, settings_of(0.5f, 0, 0.8f, 0)), {0, 16.0 / 25, 0, 9.0 / 25});
}

TEST_CASE("sampler: a flat distribution over many tokens is cut exactly") {
    const at::Tensor flat = at::zeros({30'000});
    int64_t highest = 0;
    for (int i = 0; i < 200; ++i) highest = std::max<int64_t>(highest, sample(flat, settings_of(1, 0, 0.5f, 0), i));
    CHECK(highest < 15'002);
    CHECK(highest > 10'000);
    for (int i = 0; i < 50; ++i) CHECK(sample(flat, settings_of(1, 3, 1, 0), i) < 3);
}

TEST_CASE("sampler: greedy takes the lowest id of equals") {
    SamplerSettings settings;
    settings.greedy = true;
    CHECK(sample(at::tensor({1.0f, 3.0f, 3.0f, 2.0f}), settings, 0) == 1);
    settings.greedy = false;
    settings.temperature = 1e-4f;
    CHECK(sample(at::tensor({1.0f, 3.0f, 2.0f}), settings, 9) == 1);
}

TEST_CASE("sampler: a token's random number depends on seed and index alone") {
    CHECK(token_uniform(1, 2) == token_uniform(1, 2));
    CHECK(token_uniform(1, 2) != token_uniform(1, 3));
    CHECK(token_uniform(1, 2) != token_uniform(2, 2));
    double sum = 0, squares = 0, lagged = 0;
    constexpr int n = 100'000;
    for (int i = 0; i < n; ++i) {
        const double u = token_uniform(77, i);
        CHECK_UNARY((u >= 0 && u < 1));
        sum += u;
        squares += u * u;
        lagged += u * token_uniform(78, i);
    }
    CHECK(sum / n == doctest::Approx(0.5).epsilon(0.01));
    CHECK(squares / n == doctest::Approx(1.0 / 3).epsilon(0.01));
    CHECK(lagged / n == doctest::Approx(0.25).epsilon(0.02));
}

TEST_CASE("sampler: entropy, log-probability, divergence") {
    const at::Tensor p = logits_of({0.5, 0.25, 0.125, 0.125}), q = logits_of({0.25, 0.25, 0.25, 0.25});
    const Distribution d = describe(p + 3.0f, 3);
    CHECK(d.entropy == doctest::Approx(1.75 * std::log(2.0)));
    REQUIRE(d.top.size() == 3);
    CHECK(d.top[0].id == 0);
    CHECK(d.top[0].probability == doctest::Approx(0.5));
    CHECK(d.top[2].id == 2);
    CHECK(log_probability(p, 1) == doctest::Approx(std::log(0.25)));
    CHECK(kl_divergence(p, q).item<float>() == doctest::Approx(0.25 * std::log(2.0)));
    CHECK(kl_divergence(at::stack({p, q}), at::stack({p, p})).sizes() == at::IntArrayRef{2});
    CHECK(kl_divergence(p, p).item<float>() == 0);
}

TEST_CASE("sampler: masked tokens never come, and nonsense is refused") {
    const float minus_infinity = -std::numeric_limits<float>::infinity();
    const at::Tensor masked = at::tensor({0.0f, minus_infinity, 0.0f});
    check_frequencies(frequencies(masked, settings_of(1, 0, 0.99f, 0), 5000), {0.5, 0, 0.5});
    CHECK(describe(masked).entropy == doctest::Approx(std::log(2.0)));
    const at::Tensor fine = at::zeros({3});
    CHECK_THROWS_AS(sample(at::tensor({0.0f, NAN}), {}, 0), InputError);
    CHECK_THROWS_AS(sample(fine, settings_of(0, 0, 1, 0), 0), InputError);
    CHECK_THROWS_AS(sample(fine, settings_of(1, -1, 1, 0), 0), InputError);
    CHECK_THROWS_AS(sample(fine, settings_of(1, 0, 1.5f, 0), 0), InputError);
    CHECK_THROWS_AS(sample(fine, settings_of(1, 0, 1, -0.1f), 0), InputError);
    CHECK_THROWS_AS(log_probability(fine, 3), InputError);
}
