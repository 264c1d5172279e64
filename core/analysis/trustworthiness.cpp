#include "core/analysis/trustworthiness.h"

#include <algorithm>
#include <limits>
#include <string>
#include <vector>

#include "core/analysis/knn.h"
#include "core/analysis/map_kernels.h"
#include "core/model/error.h"
#include "core/model/parallel.h"

namespace savepoint {

namespace {

constexpr int64_t kRowsAtOnce = 24;       // of one task
constexpr double kPartOperations = 2e10;  // between two calls of go_on

void check(const PointTable& data, const PointTable& projection, int64_t k) {
    if (data.rows != projection.rows)
        throw InputError("projection quality: " + std::to_string(data.rows) + " points, but " +
                         std::to_string(projection.rows) + " in the projection");
    if (k < 1 || 2 * k >= data.rows)
        throw InputError("projection quality: neighbours must be at least 1 and less than half of the " +
                         std::to_string(data.rows) + " points");
}

// Distances of one point from all others in one space, and its nearest there.
struct View {
    const float* distances;
    std::vector<int32_t> nearest;
};

View look(float* distances, int64_t self, int64_t count, int64_t k) {
    distances[self] = std::numeric_limits<float>::infinity();
    NearestSoFar nearest(k);
    for (int64_t at = 0; at < count; at += nearest_block)
        nearest.add(distances + at, std::min(nearest_block, count - at), at);
    View view{distances, {}};
    for (const Neighbour& c : nearest.kept()) view.nearest.push_back(c.index);
    std::sort(view.nearest.begin(), view.nearest.end());
    return view;
}

// Sum of (rank in `truth` - k) over those near in `shown` that are not near in `truth`.
int64_t intrusions(const View& shown, const View& truth, int64_t count) {
    const auto k = static_cast<int64_t>(shown.nearest.size());
    int64_t sum = 0;
    for (const int32_t j : shown.nearest) {
        if (std::binary_search(truth.nearest.begin(), truth.nearest.end(), j)) continue;
        const int64_t rank = 1 + map_kernels().count_below(truth.distances, count, truth.distances[j]);
        sum += std::max<int64_t>(rank - k, 0);
    }
    return sum;
}

struct Sums {
    int64_t intruders = 0, missing = 0;
};

// Rows to ask: the i-th of `asked` evenly spaced ones.
Sums ask(const PointSearch& data, const PointSearch& projection, int64_t first, int64_t last, int64_t asked,
         int64_t k) {
    thread_local std::vector<float> in_data, in_projection;
    const int64_t n = data.rows(), width = data.padded_rows();
    in_data.resize(static_cast<size_t>(map_tile * width));
    in_projection.resize(static_cast<size_t>(map_tile * width));
    Sums sums;
    for (int64_t at = first; at < last; at += map_tile) {
        std::vector<int64_t> rows;
        for (int64_t i = at; i < std::min(last, at + map_tile); ++i) rows.push_back(i * n / asked);
        data.squared_distances(rows, in_data.data());
        projection.squared_distances(rows, in_projection.data());
        for (size_t q = 0; q < rows.size(); ++q) {
            const View truth = look(in_data.data() + q * width, rows[q], n, k);
            const View shown = look(in_projection.data() + q * width, rows[q], n, k);
            sums.intruders += intrusions(shown, truth, n);
            sums.missing += intrusions(truth, shown, n);
        }
    }
    return sums;
}

double score(int64_t sum, int64_t asked, int64_t n, int64_t k) {
    const double most = static_cast<double>(asked) * static_cast<double>(k) * static_cast<double>(2 * n - 3 * k - 1);
    return 1 - 2 * static_cast<double>(sum) / most;
}

}  // namespace

ProjectionQuality projection_quality(const PointTable& data, const PointTable& projection,
                                     const QualityOptions& options) {
    const PointSearch original(data, options.metric), shown(projection, PointMetric::euclidean);
    const int64_t n = data.rows, k = options.neighbors;
    check(data, projection, k);
    const int64_t asked = options.most_rows > 0 ? std::min(options.most_rows, n) : n;
    const int64_t tasks = (asked + kRowsAtOnce - 1) / kRowsAtOnce;
    const double each =
        2.0 * kRowsAtOnce * static_cast<double>(n) * static_cast<double>(original.prepared_columns() + 8);
    const auto part = std::max<int64_t>(static_cast<int64_t>(kPartOperations / each), 2);
    std::vector<Sums> sums(static_cast<size_t>(tasks));
    for (int64_t begin = 0; begin < tasks; begin += part) {
        if (options.go_on && !options.go_on(static_cast<double>(begin) / static_cast<double>(tasks))) throw Cancelled();
        parallel_tasks(std::min(part, tasks - begin), [&](int64_t task) {
            const int64_t first = (begin + task) * kRowsAtOnce;
            sums[begin + task] = ask(original, shown, first, std::min(first + kRowsAtOnce, asked), asked, k);
        });
    }
    Sums total;
    for (const Sums& one : sums) total = {total.intruders + one.intruders, total.missing + one.missing};
    return {score(total.intruders, asked, n, k), score(total.missing, asked, n, k), options.neighbors, n, asked};
}

}  // namespace savepoint
