#pragma once

// Random runs of a small model, and the checks that every codec of runs must pass.

#include <ATen/ATen.h>

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "core/model/error.h"
#include "core/sidecar/run_codec.h"
#include "tests/core/sidecar_fixture.h"

namespace savepoint::testing {

// small_config() with heads that a Hadamard matrix fits.
inline ModelConfig run_config() {
    ModelConfig config = small_config();
    config.layers = 3;
    config.d_model = 24;
    config.kv_heads = 2;
    config.head_dim = 8;
    return config;
}

// Owns what a CodedRun refers to.
struct RandomRun {
    StateRows rows;
    std::vector<TokenId> ids;

    CodedRun run() const { return {rows, ids, 4}; }
    RandomRun first(int64_t count) const { return {rows.slice(0, count), {ids.begin(), ids.begin() + count}}; }
};

// Rows that vary in `rank` directions (0: all) about a mean of their own; the directions are those of `world`.
inline RandomRun random_run(int64_t tokens, uint64_t seed = 3, int64_t rank = 0, uint64_t world = 5) {
    const ModelConfig config = run_config();
    const auto rows = [&](int64_t width) {
        const int64_t inner = rank == 0 ? width : rank;
        at::manual_seed(world + static_cast<uint64_t>(width));
        const at::Tensor mix = at::randn({config.layers, inner, width}), centre = at::randn({config.layers, 1, width});
        at::manual_seed(seed + static_cast<uint64_t>(width));
        return (at::bmm(at::randn({tokens, config.layers, inner}).transpose(0, 1), mix) + 2 * centre)
            .transpose(0, 1)
            .contiguous();
    };
    RandomRun random;
    random.rows.hidden = rows(config.d_model);
    random.rows.key = rows(config.kv_dim()).view({tokens, config.layers, config.kv_heads, config.head_dim});
    random.rows.value = (rows(config.kv_dim()) * -0.7).view(random.rows.key.sizes());
    for (int64_t i = 0; i < tokens; ++i) random.ids.push_back(static_cast<TokenId>((i * 7 + 3) % 50));
    return random;
}

inline StateRows round_trip(const RunCodec& codec, const RandomRun& random) {
    return codec.decode(codec.encode(random.run()), random.ids, 4);
}

inline at::Tensor plane_of(const StateRows& rows, const std::string& plane) {
    return plane == "hidden" ? rows.hidden : plane == "key" ? rows.key : rows.value;
}

// Mean squared error over the planes that the codec stores.
inline double error_of(const RunCodec& codec, const RandomRun& random) {
    const StateRows back = round_trip(codec, random);
    double error = 0;
    for (const std::string plane : {"hidden", "key", "value"})
        if (plane_of(back, plane).defined())
            error += (plane_of(back, plane) - plane_of(random.rows, plane)).square().mean().item<double>();
    return error;
}

inline void check_same_rows(const StateRows& a, const StateRows& b) {
    for (const std::string plane : {"hidden", "key", "value"}) {
        REQUIRE(plane_of(a, plane).defined() == plane_of(b, plane).defined());
        if (plane_of(a, plane).defined()) CHECK(same_bits(plane_of(a, plane), plane_of(b, plane)));
    }
}

// What a codec stores is what it stored before, and bytes that are not its own are refused.
inline void check_contract(const RunCodec& codec, const RandomRun& random) {
    const std::string bytes = codec.encode(random.run());
    CHECK(codec.encode(random.run()) == bytes);
    CHECK_THROWS_AS(codec.decode(bytes + "x", random.ids, 4), InputError);
    if (!bytes.empty()) {
        CHECK_THROWS_AS(codec.decode(bytes.substr(0, bytes.size() - 1), random.ids, 4), InputError);
        CHECK_THROWS_AS(codec.decode("", random.ids, 4), InputError);
        CHECK_THROWS_AS(codec.decode(bytes, random.first(random.rows.tokens() - 1).ids, 4), InputError);
    }
    const RandomRun none = random.first(0);
    CHECK(codec.decode(codec.encode(none.run()), none.ids, 4).tokens() == 0);
    RandomRun bad = random;
    bad.rows.hidden = random.rows.hidden.clone();
    bad.rows.key = random.rows.key.clone();
    bad.rows.hidden[1][0][0] = NAN;
    bad.rows.key[1][0][0][0] = NAN;
    CHECK_THROWS_AS(codec.encode(bad.run()), InputError);
    bad = random;
    bad.ids.pop_back();
    CHECK_THROWS_AS(codec.encode(bad.run()), InputError);
    CHECK_THROWS_AS(codec.encode({StateRows{}, random.ids, 4}), InputError);
}

using LoadRunCodec =
    std::function<std::shared_ptr<const RunCodec>(const TensorFile&, const nlohmann::json&, const std::string&)>;

// Saved and loaded, a codec writes the same bytes; a file of another kind, and one where a field lacks, is refused.
inline void check_file(const RunCodec& codec, const RandomRun& random, const LoadRunCodec& load) {
    TensorFile file;
    nlohmann::json settings;
    codec.save(file, settings);
    const TensorFile read = from_safetensors(to_safetensors(file), "file");
    const auto again = load(read, nlohmann::json::parse(settings.dump()), "file");
    CHECK(again->name() == codec.name());
    CHECK(again->encode(random.run()) == codec.encode(random.run()));
    nlohmann::json foreign = settings;
    foreign["kind"] = "another";
    CHECK_THROWS_AS(load(read, foreign, "file"), FileError);
    for (const auto& [field, value] : settings.items()) {
        nlohmann::json lacking = settings;
        lacking.erase(field);
        CHECK_THROWS_AS(load(read, lacking, "file"), FileError);
    }
    for (const auto& [name, tensor] : read.tensors) {
        TensorFile lacking = read;
        lacking.tensors.erase(name);
        CHECK_THROWS_AS(load(lacking, settings, "file"), FileError);
        lacking.tensors[name] = tensor.slice(0, 0, tensor.size(0) - 1);
        CHECK_THROWS_AS(load(lacking, settings, "file"), FileError);
    }
}

}  // namespace savepoint::testing
