// Reconstruction figures against naive loops.

#include <cmath>

#include "core/sidecar/evaluate.h"
#include "tests/core/sidecar_fixture.h"

// After ATen, which has a CHECK of its own and takes it away again.
#include <doctest/doctest.h>

using namespace savepoint;
using namespace savepoint::testing;

namespace {

// sum of (a - b)^2 over tokens from..to of [tokens, n, d], for one n; b may be a mean [n, d].
double squares(const at::Tensor& a, const at::Tensor& b, int64_t from, int64_t to, int64_t index) {
    const auto x = a.accessor<float, 3>();
    double sum = 0;
    for (int64_t t = from; t < to; ++t) {
        for (int64_t i = 0; i < a.size(2); ++i) {
            const double y = b.dim() == 3 ? b[t][index][i].item<double>() : b[index][i].item<double>();
            sum += (x[t][index][i] - y) * (x[t][index][i] - y);
        }
    }
    return sum;
}

at::Tensor mean_of(const at::Tensor& a, int64_t from) { return a.slice(0, from).to(at::kDouble).mean(0); }

}  // namespace

TEST_CASE("reconstruction error equals naive loops") {
    constexpr int64_t kTokens = 14, kFirst = 4;
    StateRows rows = random_rows(kTokens, 21);
    rows.hidden.slice(0, 0, 2).mul_(50);  // sinks
    const auto sidecar = default_small_sidecar();
    const StateRows decoded = sidecar->decode(sidecar->encode(rows));
    const ReconstructionError error = reconstruction_error(*sidecar, rows);
    CHECK(error.tokens == kTokens);
    CHECK(error.first_tokens == kFirst);
    const at::Tensor late = mean_of(rows.hidden, kFirst), all = mean_of(rows.hidden, 0);
    for (int64_t layer = 0; layer < 5; ++layer) {
        const double wrong = squares(rows.hidden, decoded.hidden, kFirst, kTokens, layer);
        CHECK(error.hidden_mse[layer].item<double>() ==
              doctest::Approx(wrong / ((kTokens - kFirst) * 12)).epsilon(1e-4));
        CHECK(error.hidden_fvu[layer].item<double>() ==
              doctest::Approx(wrong / squares(rows.hidden, late, kFirst, kTokens, layer)).epsilon(1e-4));
        CHECK(error.hidden_fvu_first[layer].item<double>() ==
              doctest::Approx(squares(rows.hidden, decoded.hidden, 0, kFirst, layer) /
                              squares(rows.hidden, all, 0, kFirst, layer))
                  .epsilon(1e-4));
    }
    for (int64_t t = 0; t < kTokens; ++t) {
        double wrong = 0, spread = 0;
        for (int64_t layer = 0; layer < 5; ++layer) {
            wrong += squares(rows.hidden, decoded.hidden, t, t + 1, layer);
            spread += squares(rows.hidden, late, t, t + 1, layer);
        }
        CHECK(error.token_fvu[t].item<double>() == doctest::Approx(wrong / spread).epsilon(1e-4));
    }
    for (int64_t head = 0; head < 2; ++head) {
        const auto of_head = [&](const at::Tensor& x) { return x.select(2, head).contiguous(); };
        const at::Tensor key = of_head(rows.key), value = of_head(rows.value);
        const double wrong = squares(key, of_head(decoded.key), kFirst, kTokens, 3);
        CHECK(error.key_mse[3][head].item<double>() == doctest::Approx(wrong / ((kTokens - kFirst) * 6)).epsilon(1e-4));
        CHECK(error.key_fvu[3][head].item<double>() ==
              doctest::Approx(wrong / squares(key, mean_of(key, kFirst), kFirst, kTokens, 3)).epsilon(1e-4));
        CHECK(error.value_fvu[1][head].item<double>() ==
              doctest::Approx(squares(value, of_head(decoded.value), kFirst, kTokens, 1) /
                              squares(value, mean_of(value, kFirst), kFirst, kTokens, 1))
                  .epsilon(1e-4));
    }
}

TEST_CASE("no first tokens: their figure is NaN; no hidden states: theirs are undefined") {
    PcaSettings settings = full_rank(2);
    settings.exact_first_tokens = 0;
    settings.hidden_components = 3;
    const auto sidecar = small_sidecar(settings);
    StateRows rows = random_rows(9, 2);
    CHECK(std::isnan(reconstruction_error(*sidecar, rows).hidden_fvu_first[0].item<double>()));
    rows.hidden = at::Tensor();
    const ReconstructionError error = reconstruction_error(*sidecar, rows);
    CHECK_FALSE(error.hidden_fvu.defined());
    CHECK(error.key_fvu.defined());
}
