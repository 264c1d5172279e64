#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>
#include <set>

#include "core/analysis/fuzzy_graph.h"
#include "core/analysis/spectral.h"
#include "core/analysis/start_layout.h"
#include "core/analysis/trustworthiness.h"
#include "core/analysis/umap.h"
#include "core/model/device.h"
#include "core/model/error.h"

#include <doctest/doctest.h>

using namespace savepoint;

namespace {

// `count` Gaussian blobs of unit width, `apart` from each other, points of all in turn: row i is of blob i % count.
PointTable blobs(int64_t rows, int64_t columns, int count, double apart, uint64_t seed) {
    std::mt19937_64 draws(seed);
    std::normal_distribution<double> normal;
    PointTable points{rows, columns, std::vector<float>(static_cast<size_t>(rows * columns))};
    for (int64_t i = 0; i < rows; ++i) {
        for (int64_t c = 0; c < columns; ++c) points.row(i)[c] = static_cast<float>(normal(draws));
        points.row(i)[i % count] += static_cast<float>(apart);
    }
    return points;
}

Umap finished(const PointTable& points, const UmapSettings& settings) {
    Umap map(points, settings);
    while (map.step(100)) {
    }
    return map;
}

UmapSettings short_run() {
    UmapSettings settings;
    settings.epochs = 150;
    return settings;
}

struct Threads {
    explicit Threads(int count) : before(threads()) { set_threads(count); }
    ~Threads() { set_threads(before); }
    int before;
};

PointTable with_threads(int count, const PointTable& points, const UmapSettings& settings) {
    const Threads set(count);
    return finished(points, settings).layout();
}

double distance(const float* a, const float* b, int64_t columns) {
    double sum = 0;
    for (int64_t c = 0; c < columns; ++c) sum += (a[c] - b[c]) * (a[c] - b[c]);
    return std::sqrt(sum);
}

std::vector<float> centre_of(const PointTable& layout, int blob, int count) {
    std::vector<float> centre(static_cast<size_t>(layout.columns), 0.0f);
    float members = 0;
    for (int64_t i = blob; i < layout.rows; i += count, ++members)
        for (int64_t c = 0; c < layout.columns; ++c) centre[c] += layout.row(i)[c];
    for (float& x : centre) x /= members;
    return centre;
}

double radius_of(const PointTable& layout, int blob, int count) {
    const std::vector<float> centre = centre_of(layout, blob, count);
    double radius = 0;
    for (int64_t i = blob; i < layout.rows; i += count)
        radius = std::max(radius, distance(layout.row(i), centre.data(), layout.columns));
    return radius;
}

// Every point's nearest point in the map is of its own blob.
void check_separated(const PointTable& layout, int count) {
    const Neighbours near = PointSearch(layout, PointMetric::euclidean).search_all(1);
    for (int64_t i = 0; i < layout.rows; ++i) CHECK(near.index[i] % count == i % count);
}

Neighbours some_neighbours(int64_t k) {
    return PointSearch(blobs(200, 8, 2, 5, 1), PointMetric::euclidean).search_all(k);
}

}  // namespace

// -- the graph ----------------------------------------------------------------------------------------------

TEST_CASE("memberships of a point sum to log2 of the number of neighbours") {
    for (const int k : {5, 14, 29}) {
        const Neighbours near = some_neighbours(k);
        for (const bool connected : {true, false}) {
            const auto smooth = smooth_distances(near, k + 1, connected);
            const auto weight = memberships(near, smooth);
            for (int64_t i = 0; i < near.rows; ++i) {
                double sum = 0;
                for (int64_t j = 0; j < k; ++j) sum += weight[i * k + j];
                CHECK(sum == doctest::Approx(std::log2(k + 1)).epsilon(1e-4));
                CHECK(smooth[i].rho == (connected ? near.distance[i * k] : 0.0f));
                if (connected) CHECK(weight[i * k] == 1.0f);
            }
        }
    }
}

TEST_CASE("smooth distances of points at the same place") {
    const Neighbours near{2, 3, {1, 2, 3, 0, 2, 3}, {0, 0, 2, 0, 0, 0}};
    const auto smooth = smooth_distances(near, 4, true);
    CHECK(smooth[0].rho == 2);  // the nearest that is elsewhere
    CHECK(smooth[1].rho == 0);
    for (const float w : memberships(near, smooth)) CHECK(w == 1.0f);
}

TEST_CASE("the fuzzy union is w + w' - w w', symmetric") {
    // 0 -> 1 (0.5), 1 -> 0 (0.25), 0 -> 2 (1), 2 -> 1 (0.125); the rest is nothing.
    const Neighbours near{3, 2, {1, 2, 0, 2, 0, 1}, std::vector<float>(6, 1.0f)};
    const SparseGraph graph = fuzzy_union(near, {0.5f, 1.0f, 0.25f, 0.0f, 0.0f, 0.125f});
    CHECK(graph.row_begin == std::vector<int64_t>{0, 2, 4, 6});
    CHECK(graph.column == std::vector<int32_t>{1, 2, 0, 2, 0, 1});
    const float both = 0.5f + 0.25f - 0.125f;
    CHECK(graph.weight == std::vector<float>{both, 1, both, 0.125f, 1, 0.125f});
}

TEST_CASE("the curve is umap-learn's for each distance and spread") {
    struct Known {
        double min_dist, spread, a, b;
    };
    // umap.umap_.find_ab_params of umap-learn 0.5.12
    for (const Known& k :
         {Known{0.1, 1, 1.57694346046584, 0.8950608779639974}, Known{0.0, 1, 1.9328083980052901, 0.7904949736958765},
          Known{0.5, 1, 0.5830300203968329, 1.3341669926352966}, Known{0.25, 2, 0.4162734968171346, 0.9218551322939014},
          Known{0.99, 1, 0.11930530009434795, 1.9163904156842868},
          Known{0.1, 0.5, 5.069309324972921, 1.003005422393625}}) {
        const CurveFit fit = fit_curve(k.min_dist, k.spread);
        CHECK(fit.a == doctest::Approx(k.a).epsilon(1e-4));
        CHECK(fit.b == doctest::Approx(k.b).epsilon(1e-4));
    }
}

TEST_CASE("components of a graph") {
    // 0 - 3, 1 - 2, 4 alone
    const SparseGraph graph{{0, 1, 2, 3, 4, 4}, {3, 2, 1, 0}, {1, 1, 1, 1}};
    CHECK(connected_components(graph) == std::vector<int32_t>{0, 1, 1, 0, 2});
}

// -- the start ----------------------------------------------------------------------------------------------

namespace {

SparseGraph ring(int32_t rows) {
    SparseGraph graph{{0}, {}, {}};
    for (int32_t i = 0; i < rows; ++i) {
        for (const int32_t j : {(i + rows - 1) % rows, (i + 1) % rows}) {
            graph.column.push_back(j);
            graph.weight.push_back(0.7f);
        }
        graph.row_begin.push_back(static_cast<int64_t>(graph.column.size()));
    }
    return graph;
}

}  // namespace

TEST_CASE("the eigenmap of a ring is a circle, by the dense and by the filtered way") {
    for (const int32_t rows : {60, 400}) {
        const auto map = spectral_embedding(ring(rows), 2, 1);
        const double radius = std::sqrt(2.0 / rows);
        for (int32_t i = 0; i < rows; ++i) {
            CHECK(std::hypot(map[2 * i], map[2 * i + 1]) == doctest::Approx(radius).epsilon(0.01));
            const int32_t next = (i + 1) % rows;
            const double step = std::hypot(map[2 * next] - map[2 * i], map[2 * next + 1] - map[2 * i + 1]);
            CHECK(step == doctest::Approx(2 * radius * std::sin(3.14159265 / rows)).epsilon(0.05));
        }
    }
}

TEST_CASE("the PCA start shows the two widest axes") {
    PointTable points = blobs(500, 6, 1, 0, 3);
    for (int64_t i = 0; i < points.rows; ++i) points.row(i)[2] *= 20, points.row(i)[5] *= 10;
    const PointSearch search(points, PointMetric::euclidean);
    const auto start = start_layout(search, {}, UmapStart::pca, 2, 1);
    for (const int axis : {0, 1}) {
        std::vector<double> x, y;
        for (int64_t i = 0; i < points.rows; ++i) {
            x.push_back(points.row(i)[axis == 0 ? 2 : 5]);
            y.push_back(start[2 * i + axis]);
        }
        const double xm = std::accumulate(x.begin(), x.end(), 0.0) / 500,
                     ym = std::accumulate(y.begin(), y.end(), 0.0) / 500;
        double xy = 0, xx = 0, yy = 0;
        for (size_t i = 0; i < x.size(); ++i)
            xy += (x[i] - xm) * (y[i] - ym), xx += (x[i] - xm) * (x[i] - xm), yy += (y[i] - ym) * (y[i] - ym);
        CHECK(std::abs(xy) / std::sqrt(xx * yy) > 0.99);
    }
}

// -- the map ------------------------------------------------------------------------------------------------

TEST_CASE("separate blobs stay separate, in every variant") {
    const PointTable points = blobs(300, 20, 3, 15, 2);
    for (const UmapStart start : {UmapStart::spectral, UmapStart::pca}) {
        for (const int components : {2, 3}) {
            for (const bool reproducible : {true, false}) {
                UmapSettings settings = short_run();
                settings.start = start;
                settings.components = components;
                settings.reproducible = reproducible;
                const PointTable layout = finished(points, settings).layout();
                CHECK(layout.rows == 300);
                CHECK(layout.columns == components);
                for (const float x : layout.values) REQUIRE(std::isfinite(x));
                check_separated(layout, 3);
            }
        }
    }
}

TEST_CASE("a blob seen by its direction alone: cosine and correlation") {
    PointTable points = blobs(240, 20, 3, 12, 4);
    for (int64_t i = 0; i < points.rows; ++i)
        for (int64_t c = 0; c < 20; ++c) points.row(i)[c] *= static_cast<float>(1 + i % 11);
    for (const PointMetric metric : {PointMetric::cosine, PointMetric::correlation}) {
        UmapSettings settings = short_run();
        settings.metric = metric;
        check_separated(finished(points, settings).layout(), 3);
    }
}

TEST_CASE("a curved sheet keeps its neighbourhoods") {
    std::mt19937_64 draws(5);
    std::uniform_real_distribution<double> uniform;
    PointTable roll{900, 3, {}};
    for (int64_t i = 0; i < roll.rows; ++i) {
        const double angle = 4.7 * (1 + 2 * uniform(draws)), height = 21 * uniform(draws);
        for (const double x : {angle * std::cos(angle), height, angle * std::sin(angle)})
            roll.values.push_back(static_cast<float>(x));
    }
    const Umap map = finished(roll, {});
    const ProjectionQuality quality = projection_quality(roll, map.layout());
    CHECK(quality.trustworthiness > 0.98);
    CHECK(quality.continuity > 0.98);
}

TEST_CASE("reproducible: the same bits for the same seed, with one thread or two, in steps of any size") {
    const PointTable points = blobs(400, 24, 4, 6, 6);
    for (const UmapStart start : {UmapStart::spectral, UmapStart::pca}) {
        UmapSettings settings = short_run();
        settings.start = start;
        const PointTable one = with_threads(1, points, settings), two = with_threads(2, points, settings);
        CHECK(one == two);
        Umap slowly(points, settings);
        while (slowly.step(7)) {
        }
        CHECK(slowly.layout() == one);
        settings.seed = 2;
        CHECK(!(with_threads(2, points, settings) == one));
    }
}

TEST_CASE("step by step: progress grows, and a run that is stopped keeps its map") {
    const PointTable points = blobs(200, 10, 2, 10, 7);
    Umap map(points, short_run());
    CHECK(!map.has_layout());
    CHECK(map.layout().rows == 0);
    CHECK_THROWS_AS(map.transform(points), InputError);
    double progress = map.progress();
    CHECK(progress == 0);
    while (!map.has_layout()) {
        map.step();
        CHECK(map.progress() >= progress);
        progress = map.progress();
    }
    map.step(30);
    CHECK(map.epoch() == 30);
    CHECK(std::string(map.stage()) == "laying out");
    CHECK(map.progress() > progress);
    const PointTable there = map.layout();
    CHECK(there.rows == 200);
    CHECK(map.transform(points).rows == 200);
    CHECK(map.layout() == there);
    Umap copy = map;  // a value: the copy goes on alone
    while (copy.step(100)) {
    }
    CHECK(copy.done());
    CHECK(copy.progress() == 1);
    CHECK(copy.epoch() == 150);
    CHECK(map.layout() == there);
}

TEST_CASE("new points land in their blob and leave the map as it is") {
    const PointTable points = blobs(300, 20, 3, 15, 8), held_out = blobs(60, 20, 3, 15, 9);
    const Umap map = finished(points, short_run());
    const PointTable before = map.layout(), placed = map.transform(held_out);
    CHECK(map.layout() == before);
    for (int64_t i = 0; i < placed.rows; ++i) {
        const int blob = static_cast<int>(i % 3);
        const auto centre = centre_of(before, blob, 3);
        CHECK(distance(placed.row(i), centre.data(), 2) < radius_of(before, blob, 3) + 0.5);
    }
    // Each where it would be alone: what else comes in moves nothing.
    for (const int64_t i : {int64_t{0}, int64_t{31}}) {
        const PointTable alone = map.transform({1, 20, {held_out.row(i), held_out.row(i) + 20}});
        CHECK(std::equal(alone.values.begin(), alone.values.end(), placed.row(i)));
    }
    const Threads one(1);
    CHECK(map.transform(held_out) == placed);
}

TEST_CASE("a point of the map comes back near its place") {
    const PointTable points = blobs(300, 8, 1, 0, 10);
    const Umap map = finished(points, {});
    const PointTable layout = map.layout(), again = map.transform(points);
    double moved = 0, spread = radius_of(layout, 0, 1);
    for (int64_t i = 0; i < 300; ++i) moved += distance(layout.row(i), again.row(i), 2) / 300;
    CHECK(moved < 0.3 * spread);
}

TEST_CASE("odd data: equal points, as few points as can be, a graph in crumbs") {
    const PointTable equal{50, 4, std::vector<float>(200, 3.0f)};
    for (const float x : finished(equal, short_run()).layout().values) CHECK(std::isfinite(x));
    UmapSettings few = short_run();
    few.neighbors = 2;
    for (const float x : finished(blobs(3, 4, 1, 0, 1), few).layout().values) CHECK(std::isfinite(x));
    const Umap crumbs = finished(blobs(120, 30, 12, 40, 11), few);
    const auto part = connected_components(crumbs.graph());
    CHECK(*std::max_element(part.begin(), part.end()) > 11);
    for (const float x : crumbs.layout().values) CHECK(std::isfinite(x));
}

TEST_CASE("what cannot be mapped is refused, saying why") {
    PointTable points = blobs(15, 4, 1, 0, 1);
    CHECK_THROWS_WITH_AS(Umap(points, {}),
                         "UMAP: n_neighbors is 15, but there are only 15 points; ask for fewer neighbours", InputError);
    CHECK_THROWS_AS(Umap({}, {}), InputError);
    const auto refused = [&](auto change) {
        UmapSettings settings;
        settings.neighbors = 5;
        change(settings);
        CHECK_THROWS_AS(Umap(points, settings), InputError);
    };
    refused([](UmapSettings& s) { s.neighbors = 1; });
    refused([](UmapSettings& s) { s.components = 4; });
    refused([](UmapSettings& s) { s.min_dist = 2; });
    refused([](UmapSettings& s) { s.min_dist = NAN; });
    refused([](UmapSettings& s) { s.spread = 0; });
    refused([](UmapSettings& s) { s.epochs = -1; });
    refused([](UmapSettings& s) { s.negatives = 0; });
    refused([](UmapSettings& s) { s.learning_rate = 0; });
    points.values[7] = std::numeric_limits<float>::quiet_NaN();
    refused([](UmapSettings&) {});
}
