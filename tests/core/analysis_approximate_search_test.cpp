#include <cmath>
#include <limits>
#include <random>
#include <set>

#include "core/analysis/approximate_search.h"
#include "core/analysis/umap.h"
#include "core/model/device.h"

#include <doctest/doctest.h>

using namespace savepoint;

namespace {

// On a curved sheet of eight dimensions, as latents are; in so many columns.
PointTable sheet(int64_t rows, int64_t columns, uint64_t seed) {
    std::mt19937_64 draws(seed);
    std::normal_distribution<float> normal;
    std::vector<float> bend(static_cast<size_t>(8 * columns));
    for (float& x : bend) x = normal(draws);
    PointTable points{rows, columns, std::vector<float>(static_cast<size_t>(rows * columns))};
    for (int64_t i = 0; i < rows; ++i) {
        float place[8];
        for (float& x : place) x = normal(draws);
        for (int64_t c = 0; c < columns; ++c) {
            float sum = 0;
            for (int k = 0; k < 8; ++k) sum += place[k] * bend[static_cast<size_t>(k * columns + c)];
            points.row(i)[c] = std::sin(0.5f * sum) + 0.02f * normal(draws);
        }
    }
    return points;
}

Neighbours room(int64_t rows, int64_t k) {
    const auto size = static_cast<size_t>(rows * k);
    return {rows, k, std::vector<int32_t>(size, -1), std::vector<float>(size)};
}

Neighbours found_by(const PointSearch& search, int64_t k, ApproximateSearch::Options options) {
    ApproximateSearch graph(search, options);
    while (graph.inserted() < search.rows()) graph.insert(700);
    Neighbours out = room(search.rows(), k);
    graph.search(0, search.rows() / 2, out);
    graph.search(search.rows() / 2, search.rows(), out);
    return out;
}

double recall_of(const Neighbours& found, const Neighbours& exact) {
    int64_t hits = 0;
    for (int64_t i = 0; i < found.rows; ++i) {
        const std::set<int32_t> true_ones(&exact.index[i * exact.k], &exact.index[i * exact.k] + exact.k);
        for (int64_t j = 0; j < found.k; ++j) hits += true_ones.contains(found.index[i * found.k + j]) ? 1 : 0;
    }
    return static_cast<double>(hits) / static_cast<double>(found.rows * found.k);
}

}  // namespace

TEST_CASE("HNSW finds nearly all of the exact neighbours, at their exact distances, in every metric") {
    const PointTable points = sheet(4000, 48, 3);
    for (const PointMetric metric : {PointMetric::euclidean, PointMetric::cosine, PointMetric::correlation}) {
        const PointSearch search(points, metric);
        const Neighbours exact = search.search_all(14);
        for (const bool reproducible : {true, false}) {
            CAPTURE(reproducible);
            ApproximateSearch::Options options;
            options.reproducible = reproducible;
            const Neighbours found = found_by(search, 14, options);
            CHECK(recall_of(found, exact) > 0.98);
            for (int64_t i = 0; i < found.rows; i += 97) {
                CHECK(found.distance[i * 14] == doctest::Approx(exact.distance[i * 14]).epsilon(1e-4));
                for (int64_t j = 0; j < 14; ++j) {
                    CHECK(found.index[i * 14 + j] != i);
                    if (j > 0) CHECK(found.distance[i * 14 + j] >= found.distance[i * 14 + j - 1]);
                }
            }
        }
    }
}

TEST_CASE("the recall that is shown is the recall there is; the same seed gives the same neighbours") {
    const PointSearch search(sheet(3000, 24, 5), PointMetric::euclidean);
    const Neighbours exact = search.search_all(10);
    ApproximateSearch::Options narrow;
    narrow.links = 3, narrow.build_breadth = 4, narrow.search_breadth = 1;  // so that it misses some
    ApproximateSearch graph(search, narrow);
    graph.insert(search.rows());
    Neighbours found = room(search.rows(), 10);
    graph.search(0, search.rows(), found);
    const double recall = recall_of(found, exact);
    CHECK(recall < 0.97);
    CHECK(graph.recall(found, 3000) == doctest::Approx(recall).epsilon(1e-9));
    CHECK(std::fabs(graph.recall(found, 300) - recall) < 0.1);
    CHECK(found_by(search, 10, narrow).index == found.index);
}

TEST_CASE("a map laid out from approximate neighbours is as good as one from exact ones") {
    const PointTable points = sheet(1500, 32, 9);
    UmapSettings settings;
    settings.epochs = 60;
    settings.search = NeighbourSearch::approximate;
    Umap map(points, settings);
    CHECK(map.approximate());
    double before = -1;
    while (map.step()) {
        CHECK(map.progress() >= before);
        before = map.progress();
    }
    CHECK(map.recall() > 0.98);
    settings.search = NeighbourSearch::automatic;
    const Umap exact(points, settings);
    CHECK_FALSE(exact.approximate());  // so few are searched faster pair by pair
    CHECK(std::isnan(exact.recall()));
    CHECK(map.layout().rows == 1500);
}
