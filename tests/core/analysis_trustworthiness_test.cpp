#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>

#include "core/analysis/trustworthiness.h"
#include "core/model/device.h"
#include "core/model/error.h"

#include <doctest/doctest.h>

using namespace savepoint;

namespace {

PointTable random_points(int64_t rows, int64_t columns, uint64_t seed) {
    std::mt19937_64 draws(seed);
    std::normal_distribution<double> normal;
    PointTable points{rows, columns, std::vector<float>(static_cast<size_t>(rows * columns))};
    for (float& x : points.values) x = static_cast<float>(normal(draws));
    return points;
}

double squared(const float* a, const float* b, int64_t columns) {
    double sum = 0;
    for (int64_t c = 0; c < columns; ++c)
        sum += (static_cast<double>(a[c]) - b[c]) * (static_cast<double>(a[c]) - b[c]);
    return sum;
}

// ranks[i][j]: 1 for the nearest of i; by definition, in double.
std::vector<std::vector<int>> ranks(const PointTable& points) {
    std::vector<std::vector<int>> result;
    for (int64_t i = 0; i < points.rows; ++i) {
        std::vector<std::pair<double, int64_t>> order;
        for (int64_t j = 0; j < points.rows; ++j)
            if (j != i) order.emplace_back(squared(points.row(i), points.row(j), points.columns), j);
        std::sort(order.begin(), order.end());
        std::vector<int> row(static_cast<size_t>(points.rows), 0);
        for (size_t r = 0; r < order.size(); ++r) row[order[r].second] = static_cast<int>(r) + 1;
        result.push_back(row);
    }
    return result;
}

double naive_trustworthiness(const PointTable& data, const PointTable& projection, int k) {
    const auto truth = ranks(data), shown = ranks(projection);
    const auto n = static_cast<double>(data.rows);
    double sum = 0;
    for (size_t i = 0; i < truth.size(); ++i)
        for (size_t j = 0; j < truth.size(); ++j)
            if (i != j && shown[i][j] <= k && truth[i][j] > k) sum += truth[i][j] - k;
    return 1 - sum * 2 / (n * k * (2 * n - 3 * k - 1));
}

PointTable first_columns(const PointTable& points, int64_t columns) {
    PointTable result{points.rows, columns, {}};
    for (int64_t i = 0; i < points.rows; ++i)
        result.values.insert(result.values.end(), points.row(i), points.row(i) + columns);
    return result;
}

QualityOptions with_neighbours(int k) {
    QualityOptions options;
    options.neighbors = k;
    return options;
}

}  // namespace

TEST_CASE("trustworthiness and continuity are their definitions") {
    const PointTable data = random_points(150, 30, 1), projection = first_columns(data, 2);
    for (const int k : {1, 5, 15, 40}) {
        const ProjectionQuality quality = projection_quality(data, projection, with_neighbours(k));
        CHECK(quality.trustworthiness == doctest::Approx(naive_trustworthiness(data, projection, k)).epsilon(1e-9));
        CHECK(quality.continuity == doctest::Approx(naive_trustworthiness(projection, data, k)).epsilon(1e-9));
        CHECK(quality.rows_asked == 150);
    }
}

TEST_CASE("scikit-learn's values") {
    // sklearn.manifold.trustworthiness(x, y, n_neighbors=5) of 30 points on a line: kept, turned around, and folded.
    PointTable line{30, 1, {}}, turned{30, 1, {}}, folded{30, 1, {}};
    for (int i = 0; i < 30; ++i) {
        const auto x = static_cast<float>(std::pow(i, 2.3));  // no two distances from a point are equal
        line.values.push_back(x);
        turned.values.push_back(-3 * x);
        folded.values.push_back(std::abs(x - 400.7f));
    }
    CHECK(projection_quality(line, line, with_neighbours(5)).trustworthiness == 1);
    CHECK(projection_quality(line, turned, with_neighbours(5)).trustworthiness == 1);
    CHECK(projection_quality(line, turned, with_neighbours(5)).continuity == 1);
    CHECK(projection_quality(line, folded, with_neighbours(5)).trustworthiness ==
          doctest::Approx(0.8427272727272728).epsilon(1e-9));
}

TEST_CASE("a projection that swaps the ends of a line: closed form") {
    // k = 1, points at 0, 1, 3, 6, 10 (n = 5); in the projection the first two change places with the last.
    const PointTable data{5, 1, {0, 1, 3, 6, 10}}, projection{5, 1, {0, 100, 300, 600, 1}};
    // Nearest shown: 0 -> 4 (rank 4), 1 -> 4 (rank 4), 2 -> 1 (rank 1), 3 -> 2 (rank 1), 4 -> 0 (rank 4).
    const double expected = 1 - 2.0 / (5 * 1 * (10 - 3 - 1)) * (3 + 3 + 3);
    CHECK(projection_quality(data, projection, with_neighbours(1)).trustworthiness == doctest::Approx(expected));
}

TEST_CASE("the data's metric counts") {
    const PointTable data = random_points(80, 6, 2);
    PointTable stretched = data;
    for (int64_t i = 0; i < data.rows; ++i)
        for (int64_t c = 0; c < 6; ++c) stretched.row(i)[c] *= static_cast<float>(1 + i % 7);
    QualityOptions options = with_neighbours(5);
    options.metric = PointMetric::cosine;
    PointTable unit = data;
    for (int64_t i = 0; i < data.rows; ++i) {
        const std::vector<float> origin(6, 0.0f);
        const auto length = static_cast<float>(std::sqrt(squared(data.row(i), origin.data(), 6)));
        for (int64_t c = 0; c < 6; ++c) unit.row(i)[c] /= length;
    }
    CHECK(projection_quality(stretched, unit, options).trustworthiness > 0.9999);
    CHECK(projection_quality(stretched, unit, with_neighbours(5)).trustworthiness < 0.99);
}

TEST_CASE("one thread or two, and rows left out") {
    const PointTable data = random_points(600, 40, 3), projection = first_columns(data, 3);
    const int before = threads();
    set_threads(1);
    const ProjectionQuality one = projection_quality(data, projection);
    set_threads(2);
    const ProjectionQuality two = projection_quality(data, projection);
    set_threads(before);
    CHECK(one.trustworthiness == two.trustworthiness);
    CHECK(one.continuity == two.continuity);
    QualityOptions options;
    options.most_rows = 200;
    const ProjectionQuality some = projection_quality(data, projection, options);
    CHECK(some.rows_asked == 200);
    CHECK(some.rows == 600);
    CHECK(some.trustworthiness == doctest::Approx(one.trustworthiness).epsilon(0.02));
}

TEST_CASE("asked to stop, it stops; what it cannot measure it refuses") {
    const PointTable data = random_points(60, 5, 4);
    QualityOptions options = with_neighbours(5);
    options.go_on = [](double) { return false; };
    CHECK_THROWS_AS(projection_quality(data, data, options), Cancelled);
    CHECK_THROWS_AS(projection_quality(data, random_points(59, 2, 5), with_neighbours(5)), InputError);
    CHECK_THROWS_AS(projection_quality(data, data, with_neighbours(30)), InputError);
    CHECK_THROWS_AS(projection_quality(data, data, with_neighbours(0)), InputError);
    PointTable bad = data;
    bad.values[0] = std::numeric_limits<float>::infinity();
    CHECK_THROWS_AS(projection_quality(data, bad, with_neighbours(5)), InputError);
}
