#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>
#include <random>

#include "core/analysis/linear_probe.h"
#include "core/analysis/separation.h"
#include "core/model/error.h"

#undef CHECK
#include <doctest/doctest.h>

using namespace savepoint;

namespace {

const nlohmann::json& fixture(const char* part) {
    static const nlohmann::json all =
        nlohmann::json::parse(std::ifstream(SAVEPOINT_SOURCE_DIR "/tests/data/detectors.json"));
    return all[part];
}

}  // namespace

TEST_CASE("AUROC, AUPRC, ROC curve and false positive rate of scores with ties equal scikit-learn's") {
    const auto& reference = fixture("measures");
    const std::vector<double> score = reference["score"];
    const std::vector<int> label = reference["label"];
    CHECK(auroc(score, label) == doctest::Approx(reference["auroc"].get<double>()).epsilon(1e-12));
    CHECK(average_precision(score, label) == doctest::Approx(reference["auprc"].get<double>()).epsilon(1e-12));
    CHECK(false_rate_at(0.95, score, label) == doctest::Approx(reference["fpr_at_95"].get<double>()).epsilon(1e-12));
    const std::vector<RocPoint> curve = roc_curve(score, label);
    const std::vector<double> fpr = reference["fpr"], tpr = reference["tpr"];
    REQUIRE(curve.size() == fpr.size());
    for (size_t i = 0; i < curve.size(); ++i) {
        CHECK(curve[i].false_rate == doctest::Approx(fpr[i]));
        CHECK(curve[i].true_rate == doctest::Approx(tpr[i]));
    }
}

TEST_CASE("closed forms: perfect, reversed and constant scores") {
    const std::vector<int> label{0, 0, 0, 1, 1};
    CHECK(auroc({1, 2, 3, 4, 5}, label) == 1);
    CHECK(auroc({5, 4, 3, 2, 1}, label) == 0);
    CHECK(auroc({7, 7, 7, 7, 7}, label) == 0.5);
    CHECK(average_precision({1, 2, 3, 4, 5}, label) == 1);
    CHECK(average_precision({7, 7, 7, 7, 7}, label) == doctest::Approx(0.4));
    CHECK(false_rate_at(0.95, {1, 2, 3, 4, 5}, label) == 0);
    CHECK(false_rate_at(0.95, {7, 7, 7, 7, 7}, label) == 1);
    const Interval all = auroc_interval({1, 2, 3, 4, 5}, label, 50, 1);
    CHECK(all.low == 1);
    CHECK(all.high == 1);
    CHECK_THROWS_AS(auroc({1, 2}, {0, 0}), InputError);
    CHECK_THROWS_AS(auroc({1, 2, 3}, {0, 1}), InputError);
    CHECK_THROWS_AS(auroc({1, NAN}, {0, 1}), InputError);
}

TEST_CASE("the bootstrap interval has the width of Hanley and McNeil's standard error, and covers the truth") {
    std::mt19937_64 draws(3);
    std::normal_distribution<double> normal;
    int covered = 0;
    double width = 0;
    const double truth = 0.5 * std::erfc(-1.0 / std::sqrt(2.0) / std::sqrt(2.0));  // shift 1: Phi(1 / sqrt 2)
    for (uint64_t round = 0; round < 60; ++round) {
        std::vector<double> score;
        std::vector<int> label;
        for (int i = 0; i < 120; ++i) {
            label.push_back(i % 2);
            score.push_back(normal(draws) + (i % 2));
        }
        const Interval interval = auroc_interval(score, label, 300, round);
        covered += interval.low <= truth && truth <= interval.high;
        width += (interval.high - interval.low) / 60;
    }
    const double q1 = truth / (2 - truth), q2 = 2 * truth * truth / (1 + truth);
    const double error = std::sqrt((truth * (1 - truth) + 59 * (q1 + q2 - 2 * truth * truth)) / 3600);
    CHECK(width == doctest::Approx(2 * 1.96 * error).epsilon(0.15));
    CHECK(covered >= 52);
}

TEST_CASE("the linear probe decides as scikit-learn's logistic regression does, and finds what is there") {
    const auto& reference = fixture("probe");
    const PointTable rows{40, 6, reference["rows"].get<std::vector<float>>()};
    const LinearProbe probe = fit_linear_probe(rows, reference["label"], reference["c"]);
    const std::vector<double> expected = reference["decision"], got = probe.decision(rows);
    for (size_t i = 0; i < got.size(); ++i) CHECK(got[i] == doctest::Approx(expected[i]).epsilon(1e-4));

    // More columns than rows: the same as with columns of zeros in between, where they may not matter.
    PointTable wide{40, 90, std::vector<float>(3600, 0.0f)};
    for (int64_t i = 0; i < 40; ++i)
        for (int64_t c = 0; c < 6; ++c) wide.row(i)[c * 15] = rows.row(i)[c];
    const std::vector<double> same = fit_linear_probe(wide, reference["label"], reference["c"]).decision(wide);
    for (size_t i = 0; i < got.size(); ++i) CHECK(same[i] == doctest::Approx(got[i]).epsilon(1e-5));
    CHECK_THROWS_AS(fit_linear_probe(rows, {0, 1}, 1), InputError);
    CHECK_THROWS_AS(probe.decision(wide), InputError);
}
