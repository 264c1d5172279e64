#include <ATen/ATen.h>

#include "core/sidecar/codec_pca.h"
#include "tests/core/run_codec_fixture.h"

using namespace savepoint;
using namespace savepoint::testing;

namespace {

std::vector<std::shared_ptr<const RunCodec>> fitted(const PcaRunSettings& settings, int64_t rank = 0) {
    const auto fit = make_pca_fit(run_config(), settings);
    for (const uint64_t seed : {11, 12, 13}) fit->add(random_run(50, seed, rank).run());
    return fit->finish();
}

}  // namespace

TEST_CASE("pca: a plane of few dimensions comes back, and cut it is the projection on its principal axes") {
    PcaRunSettings settings;
    settings.part = CodedPart::full;
    settings.reductions = {2, 8};
    const auto codecs = fitted(settings, 5);
    const RandomRun random = random_run(40, 7, 5);
    // 24 / 2 and 16 / 2 axes hold 5 dimensions: what is lost is float16's.
    CHECK(error_of(*codecs[0], random) < 1e-4);
    // 16 / 8 axes: the same by a singular value decomposition of the fitted rows.
    std::vector<at::Tensor> rows;
    for (const uint64_t seed : {11, 12, 13})
        rows.push_back(random_run(50, seed, 5).rows.key.select(1, 1).reshape({50, -1}));
    const at::Tensor all = at::cat(rows).to(at::kDouble), mean = all.mean(0);
    const at::Tensor axes = std::get<2>(at::linalg_svd(all - mean, false)).slice(0, 0, 2);
    const at::Tensor x = random.rows.key.select(1, 1).reshape({40, -1}).to(at::kDouble) - mean;
    const at::Tensor expected = at::matmul(at::matmul(x, axes.t()), axes) + mean;
    const at::Tensor got = round_trip(*codecs[1], random).key.select(1, 1).reshape({40, -1});
    CHECK((got - expected).abs().max().item<double>() < 0.02);
}

TEST_CASE("pca: fewer axes lose more, in the bytes of the formula") {
    PcaRunSettings settings;
    settings.reductions = {1, 2, 4, 8};
    const RandomRun random = random_run(21);
    for (const int bits : {16, 8, 3}) {
        settings.formats = {{bits, 4}};
        double before = 0;
        for (const auto& codec : fitted(settings)) {
            const double error = error_of(*codec, random);
            CHECK(error > before);
            before = error;
        }
        settings.part = CodedPart::hidden;
        const int64_t rows = 21 * 3;
        const int64_t sizes[] = {24, 12, 6, 3};
        size_t next = 0;
        for (const auto& codec : fitted(settings)) {
            const int64_t m = sizes[next++], whole = m / 4 * rows, rest = m % 4;
            const int64_t grouped =
                (whole * 4 * bits + 7) / 8 + whole * 4 + (rest > 0 ? (rows * rest * bits + 7) / 8 + rows * 4 : 0);
            CHECK(static_cast<int64_t>(codec->encode(random.run()).size()) == (bits == 16 ? 2 * rows * m : grouped));
        }
        settings.part = CodedPart::kv;
    }
}

TEST_CASE("pca: a token depends on itself alone") {
    const auto codec = fitted({}).front();
    const RandomRun random = random_run(30);
    RandomRun other = random;
    other.rows.key = random.rows.key.clone();
    other.rows.key.slice(0, 20).mul_(-3);
    const StateRows whole = round_trip(*codec, random);
    check_same_rows(round_trip(*codec, other).slice(0, 20), whole.slice(0, 20));
    const StateRows cut = round_trip(*codec, random.first(13));
    CHECK(at::allclose(cut.key, whole.key.slice(0, 0, 13), 2e-3, 2e-3));
    CHECK(at::allclose(cut.value, whole.value.slice(0, 0, 13), 2e-3, 2e-3));
}

TEST_CASE("pca: contract, files and refusals") {
    const RandomRun random = random_run(21);
    for (const CodedPart part : {CodedPart::hidden, CodedPart::kv, CodedPart::full}) {
        PcaRunSettings settings;
        settings.part = part;
        settings.formats = {{part == CodedPart::kv ? 5 : 16, 32}, {3, 8}};
        for (const auto& codec : fitted(settings)) {
            check_contract(*codec, random);
            check_file(*codec, random, load_pca);
            CHECK(codec->sidecar_bytes() > 0);
        }
    }
    PcaRunSettings settings;
    CHECK(fitted(settings)[1]->name() == "pca 1/4 fp16");
    CHECK_THROWS_AS(make_pca_fit(run_config(), settings)->finish(), InputError);
    settings.reductions = {0};
    CHECK_THROWS_AS(make_pca_fit(run_config(), settings), InputError);
    settings.reductions = {};
    CHECK_THROWS_AS(make_pca_fit(run_config(), settings), InputError);
    settings = {};
    settings.formats = {};
    CHECK_THROWS_AS(make_pca_fit(run_config(), settings), InputError);
}
