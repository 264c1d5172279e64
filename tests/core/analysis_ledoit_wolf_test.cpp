#include <ATen/ATen.h>
#include <doctest/doctest.h>

#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "core/analysis/anomaly.h"
#include "core/analysis/moments.h"
#include "core/model/error.h"

using namespace savepoint;

namespace {

at::Tensor vector_of(const nlohmann::json& json) { return at::tensor(json.get<std::vector<double>>(), at::kDouble); }

at::Tensor matrix_of(const nlohmann::json& json) {
    std::vector<at::Tensor> rows;
    for (const auto& row : json) rows.push_back(vector_of(row));
    return at::stack(rows);
}

double largest(const at::Tensor& x) { return x.abs().max().item<double>(); }

// |x - y| relative to the largest of y.
double difference(const at::Tensor& x, const at::Tensor& y) { return largest(x - y) / std::max(largest(y), 1e-300); }

}  // namespace

TEST_CASE("Ledoit-Wolf equals scikit-learn") {
    std::ifstream file(std::string(SAVEPOINT_SOURCE_DIR) + "/tests/data/ledoit_wolf.json");
    const nlohmann::json fixture = nlohmann::json::parse(file);
    REQUIRE(fixture["cases"].size() > 5);
    for (const auto& entry : fixture["cases"]) {
        const std::string name = entry["name"];
        CAPTURE(name);
        const Shrunk shrunk = ledoit_wolf(matrix_of(entry["samples"]));
        CHECK(std::abs(shrunk.shrinkage - entry["shrinkage"].get<double>()) < 1e-8);
        CHECK(difference(shrunk.covariance, matrix_of(entry["covariance"])) < 1e-8);
        CHECK(difference(shrunk.mean, vector_of(entry["mean"])) < 1e-8);
    }
}

TEST_CASE("streamed moments give what all samples at once give, also far from the origin") {
    at::manual_seed(1);
    const at::Tensor samples = at::randn({3, 200, 7}).mul_(at::linspace(0.1, 4, 7)).add_(500);  // [sets, n, d]
    Moments streamed;
    for (int64_t first = 0; first < 200; first += 25) streamed.add(samples.slice(1, first, first + 25));
    const ShrunkSets sets = ledoit_wolf(streamed);
    for (int64_t i = 0; i < 3; ++i) {
        const Shrunk batch = ledoit_wolf(samples[i]);
        CHECK(difference(sets.mean[i], batch.mean) < 1e-8);
        CHECK(difference(sets.covariance[i], batch.covariance) < 1e-5);
        CHECK(std::abs(sets.shrinkage[i].item<double>() - batch.shrinkage) < 1e-5);
    }
}

TEST_CASE("one sample, or one dimension") {
    const Shrunk one = ledoit_wolf(at::tensor({1.0, 2.0}, at::kDouble).view({1, 2}));
    CHECK(largest(one.covariance) == 0);
    CHECK(one.shrinkage == 0);
    const Shrunk column = ledoit_wolf(at::tensor({1.0, 3.0, 5.0}, at::kDouble).view({3, 1}));
    CHECK(column.covariance.item<double>() == doctest::Approx(8.0 / 3));
}

TEST_CASE("whitening inverts a covariance, and gives a singular one the least ridge") {
    at::manual_seed(2);
    const at::Tensor factor = at::randn({2, 5, 5}, at::kDouble), covariance = factor.bmm(factor.transpose(1, 2));
    const at::Tensor w = whitening(covariance);
    CHECK(largest(w.bmm(covariance).bmm(w.transpose(1, 2)) - at::eye(5, at::kDouble)) < 1e-8);
    CHECK(largest(w.triu(1)) == 0);

    const at::Tensor flat = at::stack({at::ones({3, 3}, at::kDouble), at::zeros({3, 3}, at::kDouble)});
    CHECK(whitening(flat).isfinite().all().item<bool>());
    CHECK_THROWS_AS(whitening(at::full({1, 2, 2}, NAN)), InputError);
}

TEST_CASE("samples that have no covariance are refused") {
    CHECK_THROWS_AS(ledoit_wolf(at::ones({0, 3})), InputError);
    CHECK_THROWS_AS(ledoit_wolf(at::ones({3})), InputError);
    CHECK_THROWS_AS(ledoit_wolf(at::full({3, 2}, NAN)), InputError);
}
