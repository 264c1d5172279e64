#include <ATen/ATen.h>

#include <cmath>

#include "core/analysis/incremental_pca.h"
#include "core/analysis/projection.h"
#include "core/model/error.h"

#include <doctest/doctest.h>

using namespace savepoint;

namespace {

// [rows, columns] of falling variance, not centred.
at::Tensor sample(int64_t rows, int64_t columns, double decay) {
    at::manual_seed(7);
    const at::Tensor mixing = std::get<0>(at::linalg_qr(at::randn({columns, columns}, at::kDouble)));
    const at::Tensor spread = at::pow(decay, at::arange(columns, at::kDouble));
    return (at::mm(at::randn({rows, columns}, at::kDouble) * spread, mixing) + 3 * at::randn({columns}, at::kDouble))
        .to(at::kFloat);
}

double apart(const at::Tensor& a, const at::Tensor& b) { return (a - b).abs().max().item<double>(); }

// Largest deviation of corresponding axes from being parallel.
double crooked(const PcaProjection& a, const PcaProjection& b, int64_t count) {
    const at::Tensor cosine = (a.axes.slice(0, 0, count) * b.axes.slice(0, 0, count)).sum(1).abs();
    return 1 - cosine.min().item<double>();
}

}  // namespace

TEST_CASE("incremental PCA of batches is the exact PCA of all rows, while it keeps the rank of the data") {
    const at::Tensor rows = sample(400, 24, 0.85);
    IncrementalPca running(24);
    for (int64_t first = 0; first < 400; first += 37)
        running.add(rows.slice(0, first, std::min<int64_t>(400, first + 37)));
    CHECK(running.count() == 400);
    const PcaProjection exact = fit_pca(rows, 8), incremental = running.projection(8);
    CHECK(apart(exact.mean, incremental.mean) < 1e-5);
    CHECK(apart(exact.explained, incremental.explained) < 1e-6);
    CHECK(crooked(exact, incremental, 8) < 1e-6);
}

TEST_CASE("incremental PCA goes on from an exact decomposition, row by row") {
    const at::Tensor rows = sample(300, 20, 0.8);
    const at::Tensor first = rows.slice(0, 0, 200);
    const PcaProjection start = fit_pca(first, 20);
    const double total = (first - first.mean(0)).to(at::kDouble).square().sum().item<double>();
    IncrementalPca running(start, 200, total);
    for (int64_t i = 200; i < 300; ++i) {
        running.add(rows.slice(0, i, i + 1));
        CHECK((running.projection(3).axes[0] * start.axes[0]).sum().item<double>() > 0.5);  // turns, never flips
    }
    const PcaProjection exact = fit_pca(rows, 6), incremental = running.projection(6);
    CHECK(apart(exact.explained, incremental.explained) < 1e-5);
    CHECK(crooked(exact, incremental, 6) < 1e-5);
}

TEST_CASE("incremental PCA that keeps few axes stays close on a falling spectrum, and its total stays exact") {
    const at::Tensor rows = sample(600, 64, 0.8);
    IncrementalPca running(16);
    for (int64_t first = 0; first < 600; first += 20) running.add(rows.slice(0, first, first + 20));
    const PcaProjection exact = fit_pca(rows, 3), incremental = running.projection(3);
    CHECK(apart(exact.explained, incremental.explained) < 1e-3);
    CHECK(crooked(exact, incremental, 3) < 1e-4);
}

TEST_CASE("incremental PCA refuses what it cannot use") {
    IncrementalPca running(4);
    CHECK_THROWS_AS(running.add(at::zeros({0, 3})), InputError);
    running.add(at::ones({1, 3}));
    CHECK_THROWS_AS(running.projection(2), InputError);
    CHECK_THROWS_AS(running.add(at::ones({1, 4})), InputError);
    CHECK_THROWS_AS(running.add(at::full({1, 3}, NAN)), InputError);
    running.add(at::ones({1, 3}));
    CHECK(running.projection(2).explained.sum().item<double>() == 0);  // nothing varies
}

TEST_CASE("randomised PCA finds the exact axes and variances of a large table, the same for the same seed") {
    const at::Tensor rows = sample(1500, 200, 0.93);
    const PcaProjection exact = fit_pca(rows, 12), random = fit_pca_randomized(rows, 12);
    CHECK(apart(exact.explained, random.explained) < 1e-5);
    CHECK(crooked(exact, random, 12) < 1e-4);
    CHECK(apart(exact.project(rows).slice(1, 0, 3), random.project(rows).slice(1, 0, 3)) < 1e-2);  // signs as well
    CHECK(apart(random.axes, fit_pca_randomized(rows, 12).axes) == 0);
}

TEST_CASE("randomised PCA of data of low rank has no axes beyond it, also where it is wider than high") {
    at::manual_seed(3);
    const at::Tensor rows = at::mm(at::randn({30, 4}), at::randn({4, 500}));
    const PcaProjection random = fit_pca_randomized(rows, 8), exact = fit_pca(rows, 8);
    CHECK(apart(exact.explained, random.explained) < 1e-6);
    CHECK(random.axes.slice(0, 4).abs().max().item<double>() == 0);
    CHECK(random.explained.sum().item<double>() == doctest::Approx(1).epsilon(1e-6));
}
