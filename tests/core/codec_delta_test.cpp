#include <ATen/ATen.h>

#include "core/sidecar/codec_delta.h"
#include "tests/core/run_codec_fixture.h"

using namespace savepoint;
using namespace savepoint::testing;

namespace {

DeltaSettings settings_of(int bits, int64_t references = 2, int64_t history = 255) {
    DeltaSettings settings;
    settings.formats = {{bits, 8}};
    settings.references = references;
    settings.history = history;
    settings.projection = 6;
    return settings;
}

std::shared_ptr<const RunCodec> fitted(const DeltaSettings& settings) {
    const auto fit = make_delta_fit(run_config(), settings);
    for (const uint64_t seed : {11, 12, 13}) fit->add(random_run(50, seed).run());
    return fit->finish().front();
}

// A run that says the same four tokens again and again, with a little noise.
RandomRun repeating(int64_t tokens) {
    RandomRun random = random_run(tokens);
    for (at::Tensor* plane : {&random.rows.key, &random.rows.value}) {
        const at::Tensor noise = plane->clone() * 0.01;
        for (int64_t t = 4; t < tokens; ++t) (*plane)[t].copy_((*plane)[t % 4] + noise[t]);
    }
    return random;
}

at::Tensor row_of(const StateRows& rows, int64_t token, int64_t layer) {
    return at::cat({rows.key[token][layer].reshape({-1}), rows.value[token][layer].reshape({-1})});
}

// The decoder of the header, row by row: x^ = mean of the references + residual.
at::Tensor reference_of(const StateRows& back, const at::Tensor& mean, const std::string& bytes, int64_t token,
                        int64_t layer, int64_t references) {
    at::Tensor sum = at::zeros({32});
    for (int64_t k = 0; k < references; ++k) {
        const auto far = static_cast<uint8_t>(bytes[static_cast<size_t>((token * 3 + layer) * references + k)]);
        sum = sum + (far == 0 ? mean : row_of(back, token - far, layer));
    }
    return sum / static_cast<double>(references);
}

}  // namespace

TEST_CASE("delta: a row is its references' mean and a residual within half a step of the truth") {
    const RandomRun random = random_run(30);
    for (const int64_t references : {1, 2, 3}) {
        const auto codec = fitted(settings_of(4, references));
        const std::string bytes = codec->encode(random.run());
        const StateRows back = codec->decode(bytes, random.ids, 4);
        TensorFile file;
        nlohmann::json settings;
        codec->save(file, settings);
        for (int64_t t = 0; t < 30; ++t)
            for (int64_t layer = 0; layer < 3; ++layer) {
                const at::Tensor mean = file.tensors.at("mean")[layer];
                const at::Tensor reference = reference_of(back, mean, bytes, t, layer, references);
                const at::Tensor residual = (row_of(random.rows, t, layer) - reference).view({4, 8});
                const at::Tensor step = (residual.amax(1, true) - residual.amin(1, true)) / 15;
                const at::Tensor off = (row_of(random.rows, t, layer) - row_of(back, t, layer)).view({4, 8}).abs();
                CHECK(at::le(off, step * 0.51 + 2e-3).all().item<bool>());
            }
    }
}

TEST_CASE("delta: the references are the nearest decoded rows in the projection") {
    const RandomRun random = random_run(20);
    const auto codec = fitted(settings_of(8, 1, 7));
    const std::string bytes = codec->encode(random.run());
    const StateRows back = codec->decode(bytes, random.ids, 4);
    TensorFile file;
    nlohmann::json settings;
    codec->save(file, settings);
    for (int64_t t = 0; t < 20; ++t) {
        const at::Tensor mean = file.tensors.at("mean")[1], projection = file.tensors.at("projection")[1];
        const auto distance = [&](const at::Tensor& other) {
            return at::matmul(projection, row_of(random.rows, t, 1) - other).square().sum().item<double>();
        };
        const auto chosen = static_cast<uint8_t>(bytes[static_cast<size_t>(t * 3 + 1)]);
        CHECK(chosen <= std::min<int64_t>(t, 7));
        const double best = distance(chosen == 0 ? mean : row_of(back, t - chosen, 1));
        CHECK(best <= distance(mean) * 1.0001);
        for (int64_t far = 1; far <= std::min<int64_t>(t, 7); ++far)
            CHECK(best <= distance(row_of(back, t - far, 1)) * 1.0001);
    }
}

TEST_CASE("delta: repetition costs little, errors do not add up, more bits are closer") {
    const RandomRun random = repeating(64), other = random_run(64);
    const auto codec = fitted(settings_of(2, 1));
    CHECK(error_of(*codec, random) < 0.1 * error_of(*codec, other));
    const at::Tensor error = (round_trip(*codec, other).key - other.rows.key).square().flatten(1).mean(1);
    CHECK(error.slice(0, 48).mean().item<double>() < 2 * error.slice(0, 0, 16).mean().item<double>());
    double before = 1e9;
    for (const int bits : {2, 3, 4, 6, 8, 16}) {
        const double now = error_of(*fitted(settings_of(bits)), other);
        CHECK(now < before);
        before = now;
    }
}

TEST_CASE("delta: the bytes are the formula's") {
    const RandomRun random = random_run(23);
    for (const int bits : {2, 5, 16})
        for (const int64_t history : {255, 256}) {
            const int64_t rows = 23 * 3, index = history == 255 ? 1 : 2;
            const int64_t residual = bits == 16 ? rows * 32 * 2 : (rows * 32 * bits + 7) / 8 + rows * 4 * 4;
            const auto codec = fitted(settings_of(bits, 3, history));
            CHECK(static_cast<int64_t>(codec->encode(random.run()).size()) == rows * 3 * index + residual);
        }
}

TEST_CASE("delta: later tokens change nothing, nor does cutting the run") {
    const RandomRun random = random_run(40);
    const auto codec = fitted(settings_of(3));
    RandomRun other = random;
    other.rows.key = random.rows.key.clone();
    other.rows.key.slice(0, 25).mul_(-3);
    const StateRows whole = round_trip(*codec, random);
    check_same_rows(round_trip(*codec, other).slice(0, 25), whole.slice(0, 25));
    check_same_rows(round_trip(*codec, random.first(25)), whole.slice(0, 25));
}

TEST_CASE("delta: contract, files and refusals") {
    const RandomRun random = random_run(21);
    for (const int bits : {16, 3}) {
        const auto codec = fitted(settings_of(bits));
        check_contract(*codec, random);
        check_file(*codec, random, load_delta);
        std::string bytes = codec->encode(random.run());
        bytes[0] = 1;  // a token before the first
        CHECK_THROWS_AS(codec->decode(bytes, random.ids, 4), InputError);
    }
    CHECK(fitted(settings_of(3))->name() == "delta k2 back255 int3 g8");
    const auto refused = [](auto change) {
        DeltaSettings settings;
        change(settings);
        CHECK_THROWS_AS(make_delta_fit(run_config(), settings), InputError);
    };
    refused([](DeltaSettings& s) { s.references = 0; });
    refused([](DeltaSettings& s) { s.history = 0; });
    refused([](DeltaSettings& s) { s.history = 65536; });
    refused([](DeltaSettings& s) { s.projection = 0; });
    refused([](DeltaSettings& s) { s.formats = {}; });
    CHECK_THROWS_AS(make_delta_fit(run_config(), {})->finish(), InputError);
}
