#include <ATen/ATen.h>

#include "core/sidecar/codec_oja.h"
#include "tests/core/run_codec_fixture.h"

using namespace savepoint;
using namespace savepoint::testing;

namespace {

OjaSettings settings_of(int64_t reduction, double rate = 0.05) {
    OjaSettings settings;
    settings.reductions = {reduction};
    settings.first = 3;
    settings.recent = 4;
    settings.every = 5;
    settings.rate = rate;
    return settings;
}

// Fitted on text whose directions are those of `world`.
std::shared_ptr<const RunCodec> fitted(const OjaSettings& settings, uint64_t world = 5) {
    const auto fit = make_oja_fit(run_config(), settings);
    for (const uint64_t seed : {11, 12, 13}) fit->add(random_run(50, seed, 4, world).run());
    return fit->finish().front();
}

at::Tensor in_half(const at::Tensor& x) { return x.to(at::kHalf).to(at::kFloat); }

bool whole(int64_t token, int64_t tokens) { return token < 3 || token >= tokens - 4 || token % 5 == 0; }

// Oja's rule of the header for one layer of keys, in float64; the nearest orthonormal basis by singular values.
at::Tensor straightforward(const RunCodec& codec, const RandomRun& random, int64_t layer, double rate) {
    TensorFile file;
    nlohmann::json settings;
    codec.save(file, settings);
    at::Tensor basis = file.tensors.at("key.basis")[layer].to(at::kDouble);
    const at::Tensor mean = file.tensors.at("key.mean")[layer].to(at::kDouble);
    const double total = file.tensors.at("key.total")[layer].item<double>();
    std::vector<at::Tensor> back;
    for (int64_t t = 0; t < random.rows.tokens(); ++t) {
        const at::Tensor row = random.rows.key[t][layer].reshape({-1});
        if (!whole(t, random.rows.tokens())) {
            const at::Tensor z = at::matmul(basis, row.to(at::kDouble) - mean);
            back.push_back(at::matmul(basis.t(), z) + mean);
            continue;
        }
        const at::Tensor x = in_half(row).to(at::kDouble) - mean, y = at::matmul(basis, x);
        const at::Tensor moved = basis + rate / total * at::outer(y, x - at::matmul(basis.t(), y));
        const auto [u, s, v] = at::linalg_svd(moved, false);
        basis = at::matmul(u, v);
        back.push_back(in_half(row).to(at::kDouble));
    }
    return at::stack(back);
}

}  // namespace

TEST_CASE("oja: the decoder's basis follows the rule, as an independent computation does") {
    const RandomRun random = random_run(33, 7, 4, 6);
    for (const double rate : {0.0, 0.05}) {
        const auto codec = fitted(settings_of(4, rate));
        const StateRows back = round_trip(*codec, random);
        for (int64_t layer = 0; layer < 3; ++layer) {
            const at::Tensor expected = straightforward(*codec, random, layer, rate);
            const at::Tensor got = back.key.select(1, layer).reshape({33, 16});
            CHECK((got - expected).abs().max().item<double>() < 0.02);
        }
    }
}

TEST_CASE("oja: text of other directions than the fitted one is learned, and comes back better for it") {
    const RandomRun foreign = random_run(200, 7, 4, 77), own = random_run(200, 7, 4, 5);
    const double still = error_of(*fitted(settings_of(4, 0)), foreign);
    const double moved = error_of(*fitted(settings_of(4, 0.2)), foreign);
    CHECK(moved < 0.8 * still);
    // 16 / 4 axes hold the four directions of the fitted text.
    CHECK(error_of(*fitted(settings_of(4, 0.05)), own) < 1e-3);
    CHECK(error_of(*fitted(settings_of(8)), own) > error_of(*fitted(settings_of(4)), own));
}

TEST_CASE("oja: tokens kept whole are float16, in the bytes of the formula") {
    const int64_t tokens = 33;
    const RandomRun random = random_run(tokens);
    int64_t kept = 0;
    for (const int bits : {16, 4}) {
        OjaSettings settings = settings_of(4);
        settings.formats = {{bits, 32}};
        const auto codec = fitted(settings);
        const StateRows back = round_trip(*codec, random);
        kept = 0;
        for (int64_t t = 0; t < tokens; ++t)
            if (whole(t, tokens)) {
                ++kept;
                CHECK(same_bits(back.key[t], in_half(random.rows.key[t])));
            }
        const int64_t rows = (tokens - kept) * 3;
        const int64_t coded = bits == 16 ? rows * 4 * 2 : (rows * 4 * bits + 7) / 8 + rows * 4;
        CHECK(static_cast<int64_t>(codec->encode(random.run()).size()) == 2 * (kept * 3 * 16 * 2 + coded));
    }
    CHECK(kept == 3 + 4 + 5);  // 0 1 2, 5 10 15 20 25, 29 30 31 32
}

TEST_CASE("oja: later tokens change nothing, nor does cutting the run") {
    const RandomRun random = random_run(48);
    const auto codec = fitted(settings_of(4));
    RandomRun other = random;
    other.rows.key = random.rows.key.clone();
    other.rows.value = random.rows.value.clone();
    other.rows.key.slice(0, 30).mul_(-3);
    other.rows.value.slice(0, 30).mul_(-3);
    const StateRows all = round_trip(*codec, random), cut = round_trip(*codec, random.first(34));
    check_same_rows(round_trip(*codec, other).slice(0, 30), all.slice(0, 30));
    CHECK(at::allclose(cut.key.slice(0, 0, 30), all.key.slice(0, 0, 30), 2e-3, 2e-3));
    CHECK(at::allclose(cut.value.slice(0, 0, 30), all.value.slice(0, 0, 30), 2e-3, 2e-3));
}

TEST_CASE("oja: contract, files and refusals") {
    const RandomRun random = random_run(33);
    for (const int bits : {16, 4}) {
        OjaSettings settings = settings_of(4);
        settings.formats = {{bits, 32}};
        const auto codec = fitted(settings);
        check_contract(*codec, random);
        check_file(*codec, random, load_oja);
        // All kept whole.
        check_same_rows(round_trip(*codec, random.first(7)), round_trip(*codec, random.first(7)));
    }
    CHECK(fitted(settings_of(4))->name() == "oja 1/4 fp16 first3 recent4 every5 rate0.05");
    const auto refused = [](auto change) {
        OjaSettings settings;
        change(settings);
        CHECK_THROWS_AS(make_oja_fit(run_config(), settings), InputError);
    };
    refused([](OjaSettings& s) { s.rate = -1; });
    refused([](OjaSettings& s) { s.rate = NAN; });
    refused([](OjaSettings& s) { s.recent = -1; });
    refused([](OjaSettings& s) { s.reductions = {}; });
    CHECK_THROWS_AS(make_oja_fit(run_config(), {})->finish(), InputError);
}
