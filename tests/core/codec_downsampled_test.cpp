#include <ATen/ATen.h>

#include "core/sidecar/codec_downsampled.h"
#include "tests/core/run_codec_fixture.h"

using namespace savepoint;
using namespace savepoint::testing;

namespace {

std::vector<std::shared_ptr<const RunCodec>> fitted(const DownsampledSettings& settings, const RandomRun& text) {
    const auto fit = make_downsampled_fit(run_config(), settings);
    fit->add(text.first(20).run());
    RandomRun rest = text;
    rest.rows = text.rows.slice(20, text.rows.tokens() - 20);
    rest.ids.erase(rest.ids.begin(), rest.ids.begin() + 20);
    fit->add(rest.run());
    return fit->finish();
}

at::Tensor mask_of(const RunCodec& codec, const std::string& plane) {
    TensorFile file;
    nlohmann::json settings;
    codec.save(file, settings);
    return file.tensors.at(plane + ".mask");
}

}  // namespace

TEST_CASE("downsampled: of keys the rotary pairs with the largest variance stay, of values the dimensions") {
    RandomRun text = random_run(60);
    // Heads of 8: pairs are (i, i + 4). Pair 2 of head 0 of layer 1 is loud by its second half alone.
    text.rows.key.select(1, 1).select(1, 0).select(1, 6).mul_(50);
    text.rows.value.select(1, 1).select(1, 0).select(1, 6).mul_(50);
    const auto codec = fitted(DownsampledSettings{{4}, {ValueFormat{}}}, text).front();
    const at::Tensor key = mask_of(*codec, "key")[1][0], value = mask_of(*codec, "value")[1][0];
    CHECK(at::equal(key, at::tensor({0, 0, 1, 0, 0, 0, 1, 0}, at::kByte)));
    CHECK(value[6].item<int>() == 1);
    CHECK(value.sum().item<int>() == 2);
    const at::Tensor keys = mask_of(*codec, "key");
    CHECK(at::equal(keys.slice(2, 0, 4), keys.slice(2, 4)));
    // Every kept pair's variance is at least that of every pair left out.
    const at::Tensor variance = text.rows.key.var(0, /*unbiased=*/false);
    const at::Tensor band = variance.slice(2, 0, 4) + variance.slice(2, 4);
    const at::Tensor kept = keys.slice(2, 0, 4).to(at::kBool);
    const at::Tensor least = at::where(kept, band, at::full_like(band, 1e9)).amin(2);
    const at::Tensor most = at::where(kept, at::zeros_like(band), band).amax(2);
    CHECK(at::ge(least, most).all().item<bool>());
}

TEST_CASE("downsampled: what is kept is float16, the rest the mean of the fitted text") {
    const RandomRun text = random_run(60), random = random_run(17, 8);
    const auto codec = fitted(DownsampledSettings{{2}, {ValueFormat{}}}, text).front();
    const StateRows back = round_trip(*codec, random);
    const at::Tensor mean = text.rows.key.mean(0);
    const at::Tensor kept = mask_of(*codec, "key").to(at::kBool);
    const at::Tensor expected = at::where(kept, random.rows.key, mean.expand_as(random.rows.key));
    CHECK(at::allclose(back.key, expected, 1e-3, 2e-3));
    CHECK(codec->name() == "downsampled 1/2 fp16");
}

TEST_CASE("downsampled: fewer dimensions and fewer bits lose more, in the bytes of the formula") {
    const RandomRun text = random_run(60), random = random_run(19, 8);
    double before = -1;
    for (const auto& codec : fitted(DownsampledSettings{{1, 2, 4}, {ValueFormat{}}}, text)) {
        const double error = error_of(*codec, random);
        CHECK(error > before);
        before = error;
    }
    const auto four = fitted({{2}, {{4, 8}}}, text).front(), eight = fitted({{2}, {{8, 8}}}, text).front();
    CHECK(error_of(*four, random) > error_of(*eight, random));
    // 19 tokens, 3 layers, keys and values: two heads of 4 kept dimensions, one group.
    CHECK(fitted(DownsampledSettings{{2}, {ValueFormat{}}}, text).front()->encode(random.run()).size() ==
          2 * 19 * 3 * 8 * 2);
    CHECK(four->encode(random.run()).size() == 2 * (19 * 3 * 8 / 2 + 19 * 3 * 4));
}

TEST_CASE("downsampled: a token depends on itself alone") {
    const RandomRun text = random_run(60), random = random_run(24, 8);
    const auto codec = fitted({{2}, {{3, 8}}}, text).front();
    RandomRun other = random;
    other.rows.key = random.rows.key.clone();
    other.rows.key.slice(0, 10).mul_(-2);
    const StateRows whole = round_trip(*codec, random);
    check_same_rows(round_trip(*codec, other).slice(0, 10), whole.slice(0, 10));
    check_same_rows(round_trip(*codec, random.first(10)), whole.slice(0, 10));
}

TEST_CASE("downsampled: contract, files and refusals") {
    const RandomRun text = random_run(60), random = random_run(21, 8);
    for (const int bits : {16, 4})
        for (const auto& codec : fitted({{2, 4}, {{bits, 8}}}, text)) {
            check_contract(*codec, random);
            check_file(*codec, random, load_downsampled);
        }
    TensorFile file;
    nlohmann::json settings;
    fitted(DownsampledSettings{{2}, {ValueFormat{}}}, text).front()->save(file, settings);
    const auto refused = [&](const at::Tensor& mask) {
        TensorFile bad = file;
        bad.tensors["key.mask"] = mask;
        CHECK_THROWS_AS(load_downsampled(bad, settings, "file"), FileError);
    };
    refused(at::zeros({3, 2, 8}, at::kByte));
    refused(file.tensors["key.mask"] * 2);
    refused(file.tensors["key.mask"].to(at::kFloat));
    at::Tensor uneven = file.tensors["key.mask"].clone();
    uneven[0][0].fill_(1);
    refused(uneven);
    CHECK_THROWS_AS(make_downsampled_fit(run_config(), {})->finish(), InputError);
    CHECK_THROWS_AS(make_downsampled_fit(run_config(), DownsampledSettings{{0}, {ValueFormat{}}}), InputError);
    CHECK_THROWS_AS(make_downsampled_fit(run_config(), DownsampledSettings{{}, {ValueFormat{}}}), InputError);
}
