#include <ATen/ATen.h>
#include <doctest/doctest.h>

#include <cmath>

#include "core/analysis/projection.h"
#include "core/model/error.h"

using namespace savepoint;

namespace {

double largest(const at::Tensor& x) { return x.abs().max().item<double>(); }

// Orthonormal axes as columns [d, k].
at::Tensor random_axes(int64_t d, int64_t k) {
    return std::get<0>(at::linalg_qr(at::randn({d, k}, at::kDouble), "reduced"));
}

at::Tensor covariance_of(const at::Tensor& rows) {
    const at::Tensor centred = rows.to(at::kDouble) - rows.to(at::kDouble).mean(0);
    return centred.t().mm(centred);
}

}  // namespace

TEST_CASE("PCA finds known axes, strongest first, and what they explain") {
    at::manual_seed(3);
    const at::Tensor axes = random_axes(12, 3);
    at::Tensor scores = std::get<0>(at::linalg_qr(at::randn({400, 4}, at::kDouble), "reduced"));
    // Columns that are exactly uncorrelated and centred, so that the answer is known exactly.
    scores = at::cat({at::ones({400, 1}, at::kDouble), scores}, 1);
    scores = std::get<0>(at::linalg_qr(scores, "reduced")).slice(1, 1, 4) * at::tensor({3.0, 6.0, 1.0}, at::kDouble);
    const at::Tensor rows = scores.mm(axes.t()) + 5;
    const PcaProjection pca = fit_pca(rows, 3);

    CHECK(largest(pca.mean - 5) < 1e-5);
    CHECK(largest(pca.scale - 1) == 0);
    CHECK(largest(pca.explained - at::tensor({36.0, 9.0, 1.0}) / 46) < 1e-5);
    const at::Tensor overlap = pca.axes.to(at::kDouble).mm(axes).abs();
    CHECK(overlap[0][1].item<double>() == doctest::Approx(1).epsilon(1e-5));
    CHECK(overlap[1][0].item<double>() == doctest::Approx(1).epsilon(1e-5));
    CHECK(overlap[2][2].item<double>() == doctest::Approx(1).epsilon(1e-5));
    CHECK(largest(pca.axes.mm(pca.axes.t()) - at::eye(3)) < 1e-5);
    CHECK(largest(pca.project(rows).mm(pca.axes) + pca.mean - rows) < 1e-4);
}

TEST_CASE("the mean projects to zero") {
    at::manual_seed(4);
    const PcaProjection pca = fit_pca(at::randn({50, 7}) * 3 + 1000, 2);
    CHECK(largest(pca.project(pca.mean.unsqueeze(0))) == 0);
}

TEST_CASE("the sign of each axis is fixed by its largest entry") {
    at::manual_seed(5);
    const at::Tensor rows = at::randn({30, 6});
    const PcaProjection a = fit_pca(rows, 4), b = fit_pca(rows.mean(0) * 2 - rows, 4);
    CHECK(largest(a.axes - b.axes) < 1e-4);
    for (int64_t i = 0; i < 4; ++i) {
        const int64_t at = a.axes[i].abs().argmax().item<int64_t>();
        CHECK(a.axes[i][at].item<float>() > 0);
    }
    CHECK(at::equal(a.axes, fit_pca(rows, 4).axes));
}

TEST_CASE("fewer rows than columns: the other Gram matrix gives the axes of the covariance") {
    at::manual_seed(6);
    const at::Tensor wide = at::randn({9, 20});
    const PcaProjection pca = fit_pca(wide, 3);
    const at::Tensor covariance = covariance_of(wide);
    const double total = covariance.trace().item<double>();
    const at::Tensor axes = pca.axes.to(at::kDouble);
    const at::Tensor eigenvalues = pca.explained.to(at::kDouble) * total;
    CHECK(largest(covariance.mm(axes.t()) - axes.t() * eigenvalues) < 1e-4 * total);

    // Rows repeated until they outnumber the columns have the same axes.
    const PcaProjection tall = fit_pca(wide.repeat({4, 1}), 3);
    CHECK(largest(tall.axes - pca.axes) < 1e-4);
    CHECK(largest(tall.explained - pca.explained) < 1e-5);
}

TEST_CASE("standardised PCA divides the scale out first") {
    at::manual_seed(7);
    const at::Tensor z = at::randn({200, 5}), scale = at::tensor({1.0f, 10.0f, 0.1f, 3.0f, 100.0f});
    const PcaProjection plain = fit_pca(z, 2), scaled = fit_pca(z * scale, 2, scale);
    CHECK(largest(plain.axes - scaled.axes) < 1e-3);
    CHECK(largest(plain.project(z) - scaled.project(z * scale)) < 1e-3);
    const PcaProjection guarded = fit_pca(z, 2, at::zeros({5}));
    CHECK(largest(guarded.axes - plain.axes) < 1e-6);
}

TEST_CASE("axes beyond the rank of the data are zero") {
    const at::Tensor two = at::tensor({1.0f, 100.0f, 3.0f, 3.0f, 100.0f, 4.0f}).view({2, 3});
    const PcaProjection pca = fit_pca(two, 3);
    CHECK(pca.axes.sizes() == at::IntArrayRef({3, 3}));
    CHECK(pca.explained[0].item<float>() == doctest::Approx(1));
    CHECK(largest(pca.axes.slice(0, 1)) == 0);
    CHECK(largest(pca.project(two).slice(1, 1)) == 0);

    const PcaProjection one = fit_pca(at::ones({1, 4}) * 0.1, 5);
    CHECK(one.axes.sizes() == at::IntArrayRef({5, 4}));
    CHECK(largest(one.axes) == 0);
    CHECK(one.explained.isfinite().all().item<bool>());
}

TEST_CASE("what cannot be projected is refused") {
    CHECK_THROWS_AS(fit_pca(at::ones({0, 3}), 2), InputError);
    CHECK_THROWS_AS(fit_pca(at::ones({3}), 2), InputError);
    CHECK_THROWS_AS(fit_pca(at::ones({3, 3}), 0), InputError);
    CHECK_THROWS_AS(fit_pca(at::full({3, 3}, NAN), 2), InputError);
    CHECK_THROWS_AS(fit_pca(at::ones({3, 3}), 2, at::ones({2})), InputError);
    CHECK_THROWS_AS(fit_pca(at::randn({5, 3}), 2).project(at::ones({1, 4})), InputError);
}

TEST_CASE("standardised distance: 1 is typical, dead components stay finite") {
    at::manual_seed(8);
    const at::Tensor mean = at::tensor({1.0f, -2.0f}), std = at::tensor({0.5f, 4.0f});
    const at::Tensor z = at::tensor({1.5f, 2.0f, 1.0f, -2.0f}).view({2, 2});
    const at::Tensor distance = standardized_distance(z, mean, std);
    CHECK(distance[0].item<float>() == doctest::Approx(1));
    CHECK(distance[1].item<float>() == 0);
    CHECK(standardized_distance(z, mean, at::zeros({2})).isfinite().all().item<bool>());
    CHECK_THROWS_AS(standardized_distance(z, mean, at::ones({3})), InputError);
}
