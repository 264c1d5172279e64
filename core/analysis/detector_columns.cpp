#include <algorithm>
#include <cmath>

#include "core/analysis/detector_parts.h"
#include "core/analysis/isolation_forest.h"

namespace savepoint {

namespace {

class IsolationForestDetector : public Detector {
   public:
    explicit IsolationForestDetector(const DetectorSettings& settings) : settings_(settings) {}

   private:
    void fit_rows(const PointTable& normal, const PointTable&) override {
        forest_ = grow_isolation_forest(normal, settings_.trees, settings_.tree_samples, settings_.seed);
    }
    std::vector<double> score_rows(const PointTable& rows) const override {
        std::vector<double> scores;
        for (int64_t i = 0; i < rows.rows; ++i) scores.push_back(forest_.score(rows.row(i)));
        return scores;
    }
    DetectorSettings settings_;
    IsolationForest forest_;
};

// One column of normal rows: its empirical distribution, and the moments that tell the sign of its skewness with one
// more value in it.
struct Column {
    std::vector<float> sorted;
    double mean = 0, second = 0, third = 0;  // central sums

    explicit Column(std::vector<float> values) : sorted(std::move(values)) {
        std::sort(sorted.begin(), sorted.end());
        for (const float x : sorted) mean += x;
        mean /= static_cast<double>(sorted.size());
        for (const float x : sorted) {
            second += (x - mean) * (x - mean);
            third += (x - mean) * (x - mean) * (x - mean);
        }
    }

    // Of the third central moment once x has joined (Pebay 2008, eq. 2.3 for one value).
    int skew_sign(double x) const {
        const auto n = static_cast<double>(sorted.size());
        const double delta = x - mean, step = delta / (n + 1);
        const double joined = third + step * step * delta * n * (n - 1) - 3 * step * second;
        return (joined > 0) - (joined < 0);
    }

    // Tail surprise of x: of both tails' -log probabilities the one that the skewness points at, at least the larger.
    double surprise(float x) const {
        const auto n = static_cast<double>(sorted.size()) + 1;
        const auto up_to = std::upper_bound(sorted.begin(), sorted.end(), x) - sorted.begin();
        const auto below = std::lower_bound(sorted.begin(), sorted.end(), x) - sorted.begin();
        const double left = -std::log((static_cast<double>(up_to) + 1) / n);
        const double right = -std::log((n - static_cast<double>(below)) / n);
        const int sign = skew_sign(x);
        const double skewed = sign < 0 ? left : sign > 0 ? right : left + right;
        return std::max({left, right, skewed});
    }
};

class Ecod : public Detector {
    void fit_rows(const PointTable& normal, const PointTable&) override {
        columns_.clear();
        for (int64_t c = 0; c < normal.columns; ++c) {
            std::vector<float> values(static_cast<size_t>(normal.rows));
            for (int64_t i = 0; i < normal.rows; ++i) values[i] = normal.row(i)[c];
            columns_.emplace_back(std::move(values));
        }
    }
    std::vector<double> score_rows(const PointTable& rows) const override {
        std::vector<double> scores(static_cast<size_t>(rows.rows), 0.0);
        for (int64_t i = 0; i < rows.rows; ++i)
            for (size_t c = 0; c < columns_.size(); ++c) scores[i] += columns_[c].surprise(rows.row(i)[c]);
        return scores;
    }
    std::vector<Column> columns_;
};

}  // namespace

std::unique_ptr<Detector> make_isolation_forest(const DetectorSettings& settings) {
    return std::make_unique<IsolationForestDetector>(settings);
}
std::unique_ptr<Detector> make_ecod() { return std::make_unique<Ecod>(); }

}  // namespace savepoint
