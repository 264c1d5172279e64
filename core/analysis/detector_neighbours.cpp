#include <algorithm>
#include <optional>

#include "core/analysis/detector_parts.h"
#include "core/analysis/knn.h"

namespace savepoint {

namespace {

class NearestNeighbour : public Detector {
   public:
    explicit NearestNeighbour(int64_t k) : asked_(k) {}

   private:
    void fit_rows(const PointTable& normal, const PointTable&) override {
        search_.emplace(normal, PointMetric::euclidean);
        k_ = std::clamp<int64_t>(asked_, 1, normal.rows);
    }
    std::vector<double> score_rows(const PointTable& rows) const override {
        const Neighbours near = search_->search(rows, k_);
        std::vector<double> scores;
        for (int64_t i = 0; i < rows.rows; ++i) scores.push_back(near.distance[i * k_ + k_ - 1]);
        return scores;
    }
    int64_t asked_, k_ = 0;
    std::optional<PointSearch> search_;
};

class LocalOutlierFactor : public Detector {
   public:
    explicit LocalOutlierFactor(int64_t k) : asked_(k) {}

   private:
    void fit_rows(const PointTable& normal, const PointTable&) override {
        search_.emplace(normal, PointMetric::euclidean);
        k_ = std::clamp<int64_t>(asked_, 1, normal.rows - 1);
        const Neighbours near = search_->search_all(k_);
        kth_.clear();
        for (int64_t i = 0; i < normal.rows; ++i) kth_.push_back(near.distance[i * k_ + k_ - 1]);
        density_.clear();
        for (int64_t i = 0; i < normal.rows; ++i) density_.push_back(density(near, i));
    }
    std::vector<double> score_rows(const PointTable& rows) const override {
        const Neighbours near = search_->search(rows, k_);
        std::vector<double> scores;
        for (int64_t i = 0; i < rows.rows; ++i) {
            double sum = 0;
            for (int64_t j = i * k_; j < (i + 1) * k_; ++j) sum += density_[near.index[j]];
            scores.push_back(sum / static_cast<double>(k_) / density(near, i));
        }
        return scores;
    }

    // Local reachability density of row i of `near`; scikit-learn's floor keeps it finite among equal rows.
    double density(const Neighbours& near, int64_t i) const {
        double sum = 0;
        for (int64_t j = i * k_; j < (i + 1) * k_; ++j)
            sum += std::max(static_cast<double>(near.distance[j]), kth_[near.index[j]]);
        return 1 / (sum / static_cast<double>(k_) + 1e-10);
    }

    int64_t asked_, k_ = 0;
    std::optional<PointSearch> search_;
    std::vector<double> kth_, density_;  // of the normal rows
};

}  // namespace

std::unique_ptr<Detector> make_knn(const DetectorSettings& settings) {
    return std::make_unique<NearestNeighbour>(settings.knn_neighbors);
}
std::unique_ptr<Detector> make_lof(const DetectorSettings& settings) {
    return std::make_unique<LocalOutlierFactor>(settings.lof_neighbors);
}

}  // namespace savepoint
