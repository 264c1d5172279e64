#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <cmath>

#include "core/sidecar/fit.h"
#include "core/sidecar/transform_decomposition.h"
#include "tests/core/model_fixture.h"

using namespace savepoint;
using namespace savepoint::testing;

namespace {

constexpr int64_t kFirst = 4, kPrefix = 56, kLength = 72;

std::vector<std::vector<TokenId>> texts() {
    static const auto all =
        split_corpus(fortunes_corpus(), shared_tokenizer(), kLength, 10 * kLength, 2 * kLength, 3).fit;
    return all;
}

StateRows rows_of(const std::vector<TokenId>& ids) {
    ForwardOptions kept;
    kept.logits = Logits::none;
    return shared_model().forward_batch({ids}, kept).rows;
}

Sensitivity estimated() {
    SensitivityFit fit(shared_model(), 5);
    fit.add({texts()[0], texts()[1], texts()[3]}, kPrefix, kFirst);
    return fit.finish();
}

TransformFit fitted(std::optional<Sensitivity> sensitivity) {
    TransformSettings settings;
    settings.part = CodedPart::kv;
    settings.group_size = 1;
    settings.max_components = 96;
    settings.sample_tokens = 120;
    TransformFit fit(shared_weights(), settings, std::move(sensitivity));
    for (const auto& ids : texts())
        fit.add({rows_of(ids).slice(kFirst, kLength - kFirst), std::span(ids).subspan(kFirst), kFirst});
    return fit;
}

}  // namespace

TEST_CASE("a calibrated metric foretells what was measured, cell by cell, and the same in all") {
    const Sensitivity sensitivity = estimated();
    TransformFit fit = fitted(sensitivity);
    TransformDecomposition job(shared_model(), fit, sensitivity, {{texts()[2], texts()[7]}, {}, kPrefix, kFirst}, 16);
    CHECK(job.steps() == 30 + 1 + 2 * 8 + 1 + 30);
    for (int64_t i = 0; i < job.steps() - 30; ++i) job.step();

    const auto& cells = job.calibration()->cells();
    REQUIRE(cells.size() == 16);
    const Sensitivity calibrated = job.calibration()->calibrated();
    CHECK(calibrated.weight == sensitivity.weight);
    double foretold = 0, measured = 0, now = 0;
    std::vector<double> scales;
    for (const auto& cell : cells) {
        foretold += cell.forecast;
        measured += cell.measured;
        const int64_t block = cell.blocks.last_block, at = cell.keys ? 3 : 192 + 3;
        scales.push_back((calibrated.fisher[block][at][at] / sensitivity.fisher[block][at][at]).item<double>());
        now += scales.back() * cell.forecast;
    }
    CHECK(now == doctest::Approx(foretold).epsilon(1e-3));
    int exact = 0;
    for (size_t i = 0; i < cells.size(); ++i) {
        CHECK(cells[i].measured > 0);
        // A cell whose correction was cut off at a factor of 16 keeps part of its error.
        exact += std::abs(scales[i] * cells[i].forecast / cells[i].measured * measured / foretold - 1) < 0.05;
    }
    CHECK(exact >= 14);
    // Between keys and values the root of both.
    const double between = (calibrated.fisher[0][3][192 + 3] / sensitivity.fisher[0][3][192 + 3]).item<double>();
    CHECK(between == doctest::Approx(std::sqrt(scales[0] * scales[1])).epsilon(1e-3));
}

TEST_CASE("what is measured of a cell is the divergence when its rows alone are decoded") {
    const Sensitivity sensitivity = estimated();
    TransformFit fit = fitted(sensitivity);
    for (int64_t g = 0; g < fit.groups(); ++g) fit.decompose(g);
    const auto codec = fit.codec(16);
    const auto ids = texts()[2];
    MetricCalibration calibration(shared_model(), sensitivity, {ids}, kPrefix, kFirst);
    for (int i = 0; i < 8; ++i) calibration.step(*codec);

    const at::NoGradGuard no_grad;
    const StateRows exact = rows_of(ids).slice(0, kPrefix);
    const std::span<const TokenId> coded = std::span<const TokenId>(ids).subspan(kFirst, kPrefix - kFirst);
    const StateRows decoded =
        codec->decode(codec->encode({exact.slice(kFirst, kPrefix - kFirst), coded, kFirst}), coded, kFirst);
    const std::vector<std::vector<TokenId>> after{{ids.begin() + kPrefix, ids.end()}};
    const auto log_probs = [&](const at::Tensor& value) {
        return at::log_softmax(shared_model().logits_after(exact.key.unsqueeze(0), value.unsqueeze(0), after), -1);
    };
    at::Tensor value = exact.value.clone();
    value.slice(0, kFirst).slice(1, 4, 8).copy_(decoded.value.slice(1, 4, 8));
    const at::Tensor p = log_probs(exact.value), q = log_probs(value);
    const double kl = (p.exp() * (p - q)).sum(-1).mean().item<double>();
    const auto& cell = calibration.cells()[3];  // values of the second four blocks
    REQUIRE_FALSE(cell.keys);
    CHECK(cell.blocks.first_block == 4);
    CHECK(cell.measured == doctest::Approx(kl).epsilon(0.01));

    double foretold = 0;
    for (int64_t block = 4; block < 8; ++block) {
        const at::Tensor d = (decoded.value - exact.value.slice(0, kFirst)).select(1, block).flatten(1);
        const at::Tensor fisher = sensitivity.fisher[block].slice(0, 192).slice(1, 192);
        foretold += at::einsum("ti,ij,tj->", {d, fisher, d}).item<double>() / (kPrefix - kFirst);
    }
    CHECK(cell.forecast == doctest::Approx(sensitivity.weight * foretold).epsilon(0.01));
}
