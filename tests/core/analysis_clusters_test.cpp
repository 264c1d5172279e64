#include <algorithm>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <random>
#include <set>

#include "core/analysis/hdbscan.h"
#include "core/analysis/kmeans.h"
#include "core/model/device.h"
#include "core/model/error.h"

#undef CHECK
#include <doctest/doctest.h>

using namespace savepoint;

namespace {

const nlohmann::json& fixture() {
    static const nlohmann::json all =
        nlohmann::json::parse(std::ifstream(SAVEPOINT_SOURCE_DIR "/tests/data/clusters.json"));
    return all;
}

PointTable fixture_points() {
    PointTable points{static_cast<int64_t>(fixture()["points"].size()), 2, {}};
    for (const auto& row : fixture()["points"])
        for (const auto& x : row) points.values.push_back(x.get<float>());
    return points;
}

// The same partition under other names; noise (-1) must stay noise.
bool same_partition(const std::vector<int32_t>& a, const std::vector<int32_t>& b) {
    std::map<int32_t, int32_t> there, back;
    if (a.size() != b.size()) return false;
    for (size_t i = 0; i < a.size(); ++i) {
        if ((a[i] < 0) != (b[i] < 0)) return false;
        if (there.try_emplace(a[i], b[i]).first->second != b[i]) return false;
        if (back.try_emplace(b[i], a[i]).first->second != a[i]) return false;
    }
    return true;
}

bool largest_first(const std::vector<int32_t>& label) {
    std::map<int32_t, int> count;
    for (const int32_t k : label)
        if (k >= 0) ++count[k];
    int before = 1 << 30;
    for (const auto& [k, n] : count) {
        if (n > before) return false;
        before = n;
    }
    return true;
}

}  // namespace

TEST_CASE("HDBSCAN finds the clusters and the noise that scikit-learn finds") {
    const PointTable points = fixture_points();
    for (const auto& one : fixture()["hdbscan"]) {
        const Hdbscan found = hdbscan(points, {one["min_cluster_size"].get<int>(), one["min_samples"].get<int>()});
        CAPTURE(one["min_cluster_size"].get<int>());
        CHECK(same_partition(found.label, one["label"].get<std::vector<int32_t>>()));
        CHECK(largest_first(found.label));
        CHECK(found.clusters == *std::max_element(found.label.begin(), found.label.end()) + 1);
    }
}

TEST_CASE("k-means reaches the best inertia that scikit-learn reaches from 50 starts, and the same clusters") {
    const PointTable points = fixture_points();
    const auto& reference = fixture()["kmeans"];
    const KMeans found = kmeans(points, {reference["clusters"].get<int>(), 30});
    CHECK(found.inertia == doctest::Approx(reference["inertia"].get<double>()).epsilon(1e-4));
    CHECK(same_partition(found.label, reference["label"].get<std::vector<int32_t>>()));
    CHECK(largest_first(found.label));
}

TEST_CASE("k-means ends where each point is nearest to its centre and each centre is the mean of its points") {
    std::mt19937_64 draws(5);
    std::normal_distribution<float> normal;
    PointTable points{700, 6, std::vector<float>(4200)};
    for (float& x : points.values) x = normal(draws);
    set_threads(2);
    const KMeans found = kmeans(points, {7, 2, 300, 9});
    double inertia = 0;
    std::vector<std::vector<double>> sum(7, std::vector<double>(6, 0));
    std::vector<double> count(7, 0);
    for (int64_t i = 0; i < 700; ++i) {
        std::vector<double> squared(7, 0);
        for (int k = 0; k < 7; ++k)
            for (int c = 0; c < 6; ++c) squared[k] += std::pow(points.row(i)[c] - found.centres.row(k)[c], 2);
        CHECK(squared[found.label[i]] == *std::min_element(squared.begin(), squared.end()));
        inertia += squared[found.label[i]];
        count[found.label[i]] += 1;
        for (int c = 0; c < 6; ++c) sum[found.label[i]][c] += points.row(i)[c];
    }
    CHECK(found.inertia == doctest::Approx(inertia));
    for (int k = 0; k < 7; ++k)
        for (int c = 0; c < 6; ++c)
            CHECK(found.centres.row(k)[c] == doctest::Approx(sum[k][c] / count[k]).epsilon(1e-4));
    set_threads(1);
    CHECK(kmeans(points, {7, 2, 300, 9}).label == found.label);
}

TEST_CASE("clusters of few or equal points, and refusals") {
    const PointTable equal{6, 1, {2, 2, 2, 2, 2, 2}};
    CHECK(kmeans(equal, {3}).inertia == 0);
    CHECK(hdbscan(equal, {3}).clusters == 0);
    CHECK_THROWS_AS(kmeans(equal, {7}), InputError);
    CHECK_THROWS_AS(kmeans(equal, {0}), InputError);
    CHECK_THROWS_AS(hdbscan(equal, {1}), InputError);
    CHECK_THROWS_AS(hdbscan(equal, {3, 9}), InputError);
    CHECK_THROWS_AS(hdbscan(equal, {3}, [] { return false; }), Cancelled);
    const PointTable two{8, 1, {0, 0.1f, 0.2f, 0.3f, 9, 9.1f, 9.2f, 9.3f}};
    CHECK(same_partition(hdbscan(two, {3}).label, {0, 0, 0, 0, 1, 1, 1, 1}));
    CHECK(same_partition(kmeans(two, {2}).label, {0, 0, 0, 0, 1, 1, 1, 1}));
    CHECK(kmeans(two, {8}).inertia == doctest::Approx(0));
}
