#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>

#include "core/analysis/knn.h"
#include "core/analysis/map_kernels.h"
#include "core/model/device.h"
#include "core/model/error.h"

#include <doctest/doctest.h>

using namespace savepoint;

namespace {

PointTable random_points(int64_t rows, int64_t columns, uint64_t seed, double shift = 0) {
    std::mt19937_64 draws(seed);
    std::normal_distribution<double> normal(shift, 1.0);
    PointTable points{rows, columns, std::vector<float>(static_cast<size_t>(rows * columns))};
    for (float& x : points.values) x = static_cast<float>(normal(draws));
    return points;
}

double cosine_distance(std::vector<double> a, std::vector<double> b) {
    double ab = 0, aa = 0, bb = 0;
    for (size_t i = 0; i < a.size(); ++i) ab += a[i] * b[i], aa += a[i] * a[i], bb += b[i] * b[i];
    return 1 - ab / std::sqrt(aa * bb);
}

std::vector<double> centred(std::vector<double> x, bool centre) {
    const double mean = std::accumulate(x.begin(), x.end(), 0.0) / static_cast<double>(x.size());
    for (double& value : x) value -= centre ? mean : 0.0;
    return x;
}

// By definition, in double.
double distance(const float* a, const float* b, int64_t columns, PointMetric metric) {
    const std::vector<double> x(a, a + columns), y(b, b + columns);
    if (metric != PointMetric::euclidean) {
        const bool centre = metric == PointMetric::correlation;
        return cosine_distance(centred(x, centre), centred(y, centre));
    }
    double squared = 0;
    for (int64_t c = 0; c < columns; ++c) squared += (x[c] - y[c]) * (x[c] - y[c]);
    return std::sqrt(squared);
}

std::vector<std::pair<double, int32_t>> brute_force(const PointTable& points, const float* query, int64_t self,
                                                    PointMetric metric) {
    std::vector<std::pair<double, int32_t>> all;
    for (int64_t j = 0; j < points.rows; ++j)
        if (j != self)
            all.emplace_back(distance(query, points.row(j), points.columns, metric), static_cast<int32_t>(j));
    std::sort(all.begin(), all.end());
    return all;
}

// Every neighbour stands where the brute force has it, or where that has one as far but for rounding.
void check_row(const Neighbours& found, int64_t row, const std::vector<std::pair<double, int32_t>>& expected) {
    for (int64_t j = 0; j < found.k; ++j) {
        const double d = found.distance[row * found.k + j];
        CHECK(d == doctest::Approx(expected[j].first).epsilon(1e-4));
        if (found.index[row * found.k + j] == expected[j].second) continue;
        const auto there = std::find_if(expected.begin(), expected.end(), [&](const auto& pair) {
            return pair.second == found.index[row * found.k + j];
        });
        CHECK(there->first == doctest::Approx(expected[j].first).epsilon(1e-5));
    }
}

void check_search(int64_t rows, int64_t columns, PointMetric metric, int64_t k) {
    CAPTURE(rows);
    CAPTURE(columns);
    const PointTable points = random_points(rows, columns, 7, 0.5);
    const Neighbours found = PointSearch(points, metric).search_all(k);
    for (int64_t i = 0; i < rows; ++i) check_row(found, i, brute_force(points, points.row(i), i, metric));
}

struct Threads {
    explicit Threads(int count) : before(threads()) { set_threads(count); }
    ~Threads() { set_threads(before); }
    int before;
};

}  // namespace

TEST_CASE("neighbours are those of a brute force, for every metric and odd sizes") {
    for (const PointMetric metric : {PointMetric::euclidean, PointMetric::cosine, PointMetric::correlation}) {
        check_search(701, 40, metric, 14);  // by product; more than one block
        check_search(121, 3, metric, 5);    // by difference
        check_search(17, 19, metric, 16);   // every other point
    }
}

TEST_CASE("a cloud far from the origin keeps its neighbours") {
    PointTable near = random_points(300, 24, 1);
    for (float& x : near.values) x = std::round(x * 1024) / 1024;  // so that moving it loses nothing
    PointTable far = near;
    for (float& x : far.values) x += 4096;
    CHECK(PointSearch(near, PointMetric::euclidean).search_all(5).index ==
          PointSearch(far, PointMetric::euclidean).search_all(5).index);
}

TEST_CASE("new points find their neighbours; each as if it were alone") {
    const PointTable points = random_points(500, 33, 2), queries = random_points(50, 33, 3);
    const PointSearch search(points, PointMetric::euclidean);
    const Neighbours together = search.search(queries, 6);
    for (int64_t i = 0; i < queries.rows; ++i) {
        check_row(together, i, brute_force(points, queries.row(i), -1, PointMetric::euclidean));
        const PointTable one{1, 33, {queries.row(i), queries.row(i) + 33}};
        const Neighbours alone = search.search(one, 6);
        CHECK(std::equal(alone.index.begin(), alone.index.end(), together.index.begin() + i * 6));
        CHECK(std::equal(alone.distance.begin(), alone.distance.end(), together.distance.begin() + i * 6));
    }
    const Neighbours itself = search.search(points, 1);
    for (int64_t i = 0; i < points.rows; ++i) CHECK(itself.index[i] == i);
}

TEST_CASE("one and two threads, whole and in parts: the same bits") {
    const PointSearch search(random_points(400, 50, 4), PointMetric::cosine);
    const Neighbours two = [&] {
        const Threads count(2);
        return search.search_all(9);
    }();
    const Threads count(1);
    Neighbours parts{400, 9, std::vector<int32_t>(3600), std::vector<float>(3600)};
    search.search(0, 131, parts);
    search.search(131, 400, parts);
    CHECK(parts.index == two.index);
    CHECK(parts.distance == two.distance);
}

TEST_CASE("equal points are at distance 0 and come by index") {
    PointTable points{40, 20, std::vector<float>(800, 1.0f)};
    for (int64_t c = 0; c < 20; ++c) points.row(39)[c] = 2;
    const Neighbours found = PointSearch(points, PointMetric::euclidean).search_all(3);
    CHECK(found.index[0] == 1);
    CHECK(found.index[1] == 2);
    CHECK(found.index[3 * 5] == 0);
    CHECK(found.distance[3 * 5 + 2] == 0);
    CHECK(found.distance[3 * 39] == doctest::Approx(std::sqrt(20.0)));
}

TEST_CASE("rows without a direction: distance 1 from others, 0 from their like") {
    PointTable points = random_points(12, 5, 5);
    std::fill_n(points.row(3), 5, 0.0f);
    std::fill_n(points.row(8), 5, 0.0f);
    const Neighbours found = PointSearch(points, PointMetric::cosine).search_all(11);
    const auto row = [&](int64_t i, int64_t j) { return found.distance[i * 11 + j]; };
    CHECK(row(3, 0) == 0);
    CHECK(found.index[3 * 11] == 8);
    CHECK(row(3, 1) == doctest::Approx(1));
    CHECK(row(3, 10) == doctest::Approx(1));
    std::fill_n(points.row(3), 5, 0.1f);
    std::fill_n(points.row(8), 5, -7.3f);
    CHECK(PointSearch(points, PointMetric::correlation).search_all(1).index[3] == 8);
}

TEST_CASE("tables that cannot be searched are refused") {
    PointTable points = random_points(10, 4, 6);
    CHECK_THROWS_AS(PointSearch({}, PointMetric::euclidean), InputError);
    CHECK_THROWS_AS(PointSearch({10, 5, points.values}, PointMetric::euclidean), InputError);
    const PointSearch search(points, PointMetric::euclidean);
    CHECK_THROWS_AS(search.search_all(10), InputError);
    CHECK_THROWS_AS(search.search_all(0), InputError);
    CHECK_THROWS_AS(search.search({2, 5, std::vector<float>(10)}, 1), InputError);
    points.values[17] = std::numeric_limits<float>::quiet_NaN();
    CHECK_THROWS_WITH_AS(PointSearch(points, PointMetric::euclidean), "points: row 4 holds a value that is not finite",
                         InputError);
    points.values[17] = 1e30f;
    CHECK_THROWS_AS(PointSearch(points, PointMetric::euclidean), InputError);
}

// -- the two implementations of the kernels -----------------------------------------------------------------

TEST_CASE("portable and AVX2 kernels agree") {
    const MapKernels* fast = avx2_map_kernels();
    if (!fast) {
        MESSAGE("skipped: no AVX2");
        return;
    }
    const MapKernels& plain = *portable_map_kernels();
    const PointTable points = random_points(32, 37, 8), queries = random_points(6, 37, 9);
    const float* rows[map_tile];
    for (int64_t q = 0; q < map_tile; ++q) rows[q] = queries.row(q);
    std::vector<float> a(6 * 32), b(6 * 32), norms(32, 50.0f), query_norms(6, 50.0f);
    fast->by_difference(rows, points.values.data(), 2, 37, a.data(), 32);
    plain.by_difference(rows, points.values.data(), 2, 37, b.data(), 32);
    for (size_t i = 0; i < a.size(); ++i) CHECK(a[i] == doctest::Approx(b[i]).epsilon(1e-5));
    fast->by_product(rows, query_norms.data(), points.values.data(), norms.data(), 2, 37, a.data(), 32);
    plain.by_product(rows, query_norms.data(), points.values.data(), norms.data(), 2, 37, b.data(), 32);
    for (size_t i = 0; i < a.size(); ++i) CHECK(a[i] == doctest::Approx(b[i]).epsilon(1e-4));
    CHECK(fast->squared_distance(rows[0], rows[1], 37) ==
          doctest::Approx(plain.squared_distance(rows[0], rows[1], 37)).epsilon(1e-5));
    std::vector<int32_t> below_a(64), below_b(64);
    const int64_t count = plain.find_below(points.values.data(), 61, 0.2f, below_b.data());
    CHECK(fast->find_below(points.values.data(), 61, 0.2f, below_a.data()) == count);
    CHECK(fast->count_below(points.values.data(), 61, 0.2f) == count);
    CHECK(below_a == below_b);
}

namespace {

// One sweep over a ring of points in `components` dimensions.
std::vector<float> one_sweep(const MapKernels& kernels, int components, int negatives) {
    const int64_t n = 50, stride = components == 2 ? 2 : 4;
    std::vector<float> places = random_points(n, stride, 10).values, next = places;
    std::vector<int64_t> begin{0};
    std::vector<int32_t> neighbour;
    std::vector<float> rate;
    for (int64_t i = 0; i < n; ++i) {
        for (int64_t j = 1; j <= 11; ++j) {
            neighbour.push_back(static_cast<int32_t>((i + j) % n));
            rate.push_back(1.0f / static_cast<float>(j));
        }
        begin.push_back(static_cast<int64_t>(rate.size()));
    }
    LayoutPass pass{};
    pass.others = pass.from = places.data();
    pass.to = next.data();
    pass.other_count = n;
    pass.heads_are_others = true;
    pass.row_begin = begin.data();
    pass.neighbour = neighbour.data();
    pass.rate = rate.data();
    pass.epoch = 5;
    pass.step = 0.1f;
    pass.a = 1.577f, pass.b = 0.895f, pass.repulsion = 1;
    pass.negatives = negatives;
    pass.seed = 3;
    (components == 2 ? kernels.move_points_2d : kernels.move_points_3d)(pass, 0, n);
    return next;
}

}  // namespace

TEST_CASE("portable and AVX2 layout steps agree, in two and three dimensions") {
    const MapKernels* fast = avx2_map_kernels();
    for (const int components : {2, 3}) {
        for (const int negatives : {0, 1, 5, 9, 32}) {
            const auto plain = one_sweep(*portable_map_kernels(), components, negatives);
            for (const float x : plain) REQUIRE(std::isfinite(x));
            if (!fast) continue;
            const auto other = one_sweep(*fast, components, negatives);
            for (size_t i = 0; i < plain.size(); ++i) CHECK(other[i] == doctest::Approx(plain[i]).epsilon(1e-3));
        }
    }
}
