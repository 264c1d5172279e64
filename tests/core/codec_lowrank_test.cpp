#include <ATen/ATen.h>

#include <cmath>

#include "core/sidecar/codec_lowrank.h"
#include "tests/core/run_codec_fixture.h"

using namespace savepoint;
using namespace savepoint::testing;

namespace {

struct Made {
    std::vector<at::Tensor> key, value;  // weights
};

// Singular values of layer l are those of a random matrix, the last half of them made smaller by 10^l.
Made random_weights() {
    Made made;
    at::manual_seed(9);
    for (int layer = 0; layer < 3; ++layer)
        for (auto* list : {&made.key, &made.value}) {
            const auto [u, s, v] = at::linalg_svd(at::randn({16, 24}), false);
            const at::Tensor scale = at::ones({16});
            scale.slice(0, 8).fill_(std::pow(10.0, -layer));
            list->push_back(at::matmul(u * (s * scale), v));
        }
    return made;
}

// Keys and values that those weights make of random inputs.
RandomRun made_by(const Made& weights, int64_t tokens) {
    RandomRun random = random_run(tokens);
    at::manual_seed(10);
    for (int64_t layer = 0; layer < 3; ++layer) {
        const at::Tensor x = at::randn({tokens, 24});
        random.rows.key.select(1, layer).copy_(at::matmul(x, weights.key[layer].t()).view({tokens, 2, 8}));
        random.rows.value.select(1, layer).copy_(at::matmul(x, weights.value[layer].t()).view({tokens, 2, 8}));
    }
    return random;
}

std::shared_ptr<const RunCodec> codec_of(int64_t most, int64_t least, int bits = 16) {
    const Made weights = random_weights();
    return make_lowrank(run_config(), weights.key, weights.value, {{most, least, {bits, 4}}}).front();
}

}  // namespace

TEST_CASE("lowrank: the rank falls with the cumulative condition number") {
    const auto ranks = [](std::vector<double> conditions, int64_t most, int64_t least) {
        return lowrank_ranks(conditions, most, least);
    };
    // Cumulative from the last layer: 10, 8, 5, 1.
    CHECK(ranks({2, 3, 4, 1}, 100, 10) == std::vector<int64_t>{100, 80, 50, 10});
    CHECK(ranks({1, 1, 1}, 64, 64) == std::vector<int64_t>{64, 64, 64});
    CHECK(ranks({5}, 64, 32) == std::vector<int64_t>{64});
    CHECK(ranks({0, 0}, 64, 32) == std::vector<int64_t>{64, 64});
}

TEST_CASE("lowrank: all ranks give keys and values back, fewer the projection on the left singular vectors") {
    const RandomRun random = made_by(random_weights(), 30);
    CHECK(error_of(*codec_of(16, 16), random) < 1e-4);
    const StateRows back = round_trip(*codec_of(5, 5), random);
    const Made weights = random_weights();
    for (int64_t layer = 0; layer < 3; ++layer) {
        const at::Tensor u = std::get<0>(at::linalg_svd(weights.key[layer].to(at::kDouble), false)).slice(1, 0, 5);
        const at::Tensor x = random.rows.key.select(1, layer).reshape({30, 16}).to(at::kDouble);
        const at::Tensor expected = at::matmul(at::matmul(x, u), u.t());
        CHECK((back.key.select(1, layer).reshape({30, 16}) - expected).abs().max().item<double>() < 0.03);
    }
    double before = 1e9;
    for (const int64_t rank : {2, 4, 8, 16}) {
        const double error = error_of(*codec_of(rank, rank), random);
        CHECK(error < before);
        before = error;
    }
    CHECK(error_of(*codec_of(16, 16, 3), random) > error_of(*codec_of(16, 16, 8), random));
}

TEST_CASE("lowrank: the bytes are those of each layer's rank") {
    const RandomRun random = made_by(random_weights(), 13);
    const auto codec = codec_of(12, 6);
    TensorFile file;
    nlohmann::json settings;
    codec->save(file, settings);
    int64_t coordinates = 0;
    for (const auto& [name, tensor] : file.tensors) coordinates += tensor.size(0);
    CHECK(file.tensors.at("key.0").size(0) == 12);
    CHECK(file.tensors.at("value.2").size(0) == 6);
    CHECK(static_cast<int64_t>(codec->encode(random.run()).size()) == 13 * 2 * coordinates);
    const auto packed = codec_of(8, 8, 3);
    // 3 layers of keys and values: 13 tokens of two groups of four.
    CHECK(packed->encode(random.run()).size() == 6 * ((13 * 8 * 3 + 7) / 8 + 13 * 2 * 4));
    CHECK(packed->name() == "lowrank 8-8 int3 g4");
}

TEST_CASE("lowrank: a token depends on itself alone") {
    const RandomRun random = made_by(random_weights(), 24);
    const auto codec = codec_of(8, 4);
    RandomRun other = random;
    other.rows.value = random.rows.value.clone();
    other.rows.value.slice(0, 10).mul_(-2);
    const StateRows whole = round_trip(*codec, random);
    check_same_rows(round_trip(*codec, other).slice(0, 10), whole.slice(0, 10));
    CHECK(at::allclose(round_trip(*codec, random.first(9)).key, whole.key.slice(0, 0, 9), 2e-3, 2e-3));
}

TEST_CASE("lowrank: contract, files and refusals") {
    const RandomRun random = made_by(random_weights(), 21);
    for (const int bits : {16, 4}) {
        check_contract(*codec_of(12, 6, bits), random);
        check_file(*codec_of(12, 6, bits), random, load_lowrank);
    }
    const Made weights = random_weights();
    const auto refused = [&](LowRankSettings settings) {
        CHECK_THROWS_AS(make_lowrank(run_config(), weights.key, weights.value, {settings}), InputError);
    };
    refused({17, 4, {}});
    refused({8, 0, {}});
    refused({8, 9, {}});
    refused({8, 4, {9, 32}});
    CHECK_THROWS_AS(make_lowrank(run_config(), {weights.key[0]}, weights.value, {{8, 4, {}}}), InputError);
}

TEST_CASE("lowrank: the model's own weights, at full rank, give its keys and values back") {
    const ModelConfig& config = shared_model().config();
    const std::vector<TokenId> ids = first_ids(12);
    KvCache cache = shared_model().make_cache(12);
    const StateRows rows = shared_model().prefill(cache, ids).rows;
    const auto error = [&](int64_t most, int64_t least) {
        const auto codec = make_lowrank(*shared_weights(), {{most, least, {}}}).front();
        const StateRows back = codec->decode(codec->encode({rows, ids, 0}), ids, 0);
        return std::pair(((back.key - rows.key).square().sum() / rows.key.square().sum()).item<double>(),
                         ((back.value - rows.value).square().sum() / rows.value.square().sum()).item<double>());
    };
    const auto whole = error(config.kv_dim(), config.kv_dim()), half = error(config.kv_dim() / 2, config.kv_dim() / 4);
    CHECK(whole.first < 1e-5);
    CHECK(whole.second < 1e-5);
    CHECK(half.first > whole.first);
    CHECK(half.first < 1);
}
