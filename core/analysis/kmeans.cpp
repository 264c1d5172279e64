#include "core/analysis/kmeans.h"

#include <algorithm>
#include <limits>
#include <numeric>
#include <random>
#include <string>

#include "core/analysis/knn.h"
#include "core/model/error.h"
#include "core/model/parallel.h"

namespace savepoint {
namespace {

constexpr int64_t kRowsAtOnce = 512;

double uniform(std::mt19937_64& draws) { return static_cast<double>(draws() >> 11) * 0x1p-53; }

double squared(const float* a, const float* b, int64_t columns) {
    double sum = 0;
    for (int64_t c = 0; c < columns; ++c) {
        const double difference = static_cast<double>(a[c]) - b[c];
        sum += difference * difference;
    }
    return sum;
}

class Clustering {
   public:
    Clustering(const PointTable& points, const KMeansSettings& settings, const std::function<bool()>& go_on)
        : points_(points),
          settings_(settings),
          go_on_(go_on),
          label_(static_cast<size_t>(points.rows), -1),
          distance_(label_.size()),
          centres_{settings.clusters, points.columns,
                   std::vector<float>(static_cast<size_t>(settings.clusters * points.columns))} {}

    KMeans from(uint64_t seed) {
        seed_centres(seed);
        std::fill(label_.begin(), label_.end(), -1);
        for (int round = 0; round < settings_.rounds && assign(); ++round) {
            if (go_on_ && !go_on_()) throw Cancelled();
            move_centres();
        }
        assign();
        return {label_, centres_, std::accumulate(distance_.begin(), distance_.end(), 0.0)};
    }

   private:
    void seed_centres(uint64_t seed) {
        std::mt19937_64 draws(seed);
        auto chosen = static_cast<int64_t>(uniform(draws) * static_cast<double>(points_.rows));
        std::fill(distance_.begin(), distance_.end(), std::numeric_limits<double>::max());
        for (int64_t k = 0; k < settings_.clusters; ++k) {
            std::copy_n(points_.row(chosen), points_.columns, centres_.row(k));
            each_part([&](int64_t i) {
                distance_[i] = std::min(distance_[i], squared(points_.row(i), centres_.row(k), points_.columns));
            });
            chosen = draw(draws);
        }
    }

    int64_t draw(std::mt19937_64& draws) const {
        const double total = std::accumulate(distance_.begin(), distance_.end(), 0.0);
        double left = uniform(draws) * total;
        for (int64_t i = 0; i < points_.rows; ++i)
            if ((left -= distance_[i]) < 0) return i;
        return points_.rows - 1;  // all are centres already, or rounding
    }

    // Whether any point changed its cluster.
    bool assign() {
        std::vector<char> changed(static_cast<size_t>((points_.rows + kRowsAtOnce - 1) / kRowsAtOnce), 0);
        each_part([&](int64_t i) {
            int32_t best = 0;
            double nearest = std::numeric_limits<double>::max();
            for (int32_t k = 0; k < settings_.clusters; ++k) {
                const double d = squared(points_.row(i), centres_.row(k), points_.columns);
                if (d < nearest) best = k, nearest = d;
            }
            if (label_[i] != best) changed[i / kRowsAtOnce] = 1;
            label_[i] = best, distance_[i] = nearest;
        });
        return std::find(changed.begin(), changed.end(), 1) != changed.end();
    }

    // A centre that lost all its points goes to the point that is worst served.
    void move_centres() {
        const auto columns = static_cast<size_t>(points_.columns);
        std::vector<double> sum(static_cast<size_t>(settings_.clusters) * columns, 0.0);
        std::vector<int64_t> count(static_cast<size_t>(settings_.clusters), 0);
        for (int64_t i = 0; i < points_.rows; ++i) {
            ++count[label_[i]];
            for (size_t c = 0; c < columns; ++c) sum[label_[i] * columns + c] += points_.row(i)[c];
        }
        for (int64_t k = 0; k < settings_.clusters; ++k) {
            if (count[k] == 0) {
                const auto worst = std::max_element(distance_.begin(), distance_.end());
                std::copy_n(points_.row(worst - distance_.begin()), points_.columns, centres_.row(k));
                *worst = 0;
                continue;
            }
            for (size_t c = 0; c < columns; ++c)
                centres_.row(k)[c] = static_cast<float>(sum[k * columns + c] / static_cast<double>(count[k]));
        }
    }

    template <typename Work>
    void each_part(const Work& work) {
        parallel_tasks((points_.rows + kRowsAtOnce - 1) / kRowsAtOnce, [&](int64_t part) {
            const int64_t end = std::min(points_.rows, (part + 1) * kRowsAtOnce);
            for (int64_t i = part * kRowsAtOnce; i < end; ++i) work(i);
        });
    }

    const PointTable& points_;
    const KMeansSettings& settings_;
    const std::function<bool()>& go_on_;
    std::vector<int32_t> label_;
    std::vector<double> distance_;
    PointTable centres_;
};

void largest_first(KMeans& result) {
    const auto clusters = static_cast<size_t>(result.centres.rows);
    std::vector<int64_t> count(clusters, 0);
    for (const int32_t k : result.label) ++count[k];
    std::vector<int32_t> order(clusters), place(clusters);
    std::iota(order.begin(), order.end(), 0);
    std::stable_sort(order.begin(), order.end(), [&](int32_t a, int32_t b) { return count[a] > count[b]; });
    PointTable centres = result.centres;
    for (size_t k = 0; k < clusters; ++k) {
        place[order[k]] = static_cast<int32_t>(k);
        std::copy_n(result.centres.row(order[k]), centres.columns, centres.row(static_cast<int64_t>(k)));
    }
    for (int32_t& k : result.label) k = place[k];
    result.centres = std::move(centres);
}

}  // namespace

KMeans kmeans(const PointTable& points, const KMeansSettings& settings, const std::function<bool()>& go_on) {
    check_points(points, "k-means");
    if (settings.clusters < 1 || settings.clusters > points.rows)
        throw InputError("k-means: " + std::to_string(settings.clusters) + " clusters of " +
                         std::to_string(points.rows) + " points");
    Clustering clustering(points, settings, go_on);
    KMeans best;
    best.inertia = std::numeric_limits<double>::infinity();
    for (int start = 0; start < std::max(settings.starts, 1); ++start) {
        KMeans one = clustering.from(settings.seed + static_cast<uint64_t>(start) * 0x9e3779b97f4a7c15u);
        if (one.inertia < best.inertia) best = std::move(one);
    }
    largest_first(best);
    return best;
}

}  // namespace savepoint
