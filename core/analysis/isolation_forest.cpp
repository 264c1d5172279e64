#include "core/analysis/isolation_forest.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <random>

namespace savepoint {

namespace {

constexpr double kEulerGamma = 0.57721566490153286;

// std distributions are other functions in every library; these are the same everywhere.
double uniform(std::mt19937_64& draws) { return static_cast<double>(draws() >> 11) * 0x1p-53; }
int64_t below(std::mt19937_64& draws, int64_t n) {
    return static_cast<int64_t>(uniform(draws) * static_cast<double>(n));
}

class Grower {
   public:
    Grower(const PointTable& rows, int64_t samples, std::mt19937_64& draws)
        : rows_(rows), draws_(draws), columns_(static_cast<size_t>(rows.columns)) {
        std::iota(columns_.begin(), columns_.end(), 0);
        most_depth_ = static_cast<int>(std::ceil(std::log2(static_cast<double>(std::max<int64_t>(samples, 2)))));
        chosen_.resize(static_cast<size_t>(rows.rows));
        std::iota(chosen_.begin(), chosen_.end(), 0);
        for (int64_t i = 0; i < samples; ++i)
            std::swap(chosen_[i], chosen_[i + below(draws, static_cast<int64_t>(chosen_.size()) - i)]);
        chosen_.resize(static_cast<size_t>(samples));
    }

    IsolationTree grow() {
        grow(chosen_.begin(), chosen_.end(), 0);
        return std::move(tree_);
    }

   private:
    using Iterator = std::vector<int32_t>::iterator;

    int32_t grow(Iterator first, Iterator last, int depth) {
        const auto node = static_cast<int32_t>(tree_.column.size());
        tree_.column.push_back(-1);
        tree_.left.push_back(-1);
        tree_.right.push_back(-1);
        tree_.threshold.push_back(0);
        tree_.rows.push_back(static_cast<int32_t>(last - first));
        if (depth == most_depth_ || last - first < 2 || !choose_split(node, first, last)) return node;
        const int32_t column = tree_.column[node];
        const double threshold = tree_.threshold[node];
        const Iterator middle =
            std::partition(first, last, [&](int32_t i) { return rows_.row(i)[column] <= threshold; });
        tree_.left[node] = grow(first, middle, depth + 1);
        const int32_t right = grow(middle, last, depth + 1);
        tree_.right[node] = right;
        return node;
    }

    // Columns in random order until one varies.
    bool choose_split(int32_t node, Iterator first, Iterator last) {
        for (auto left = static_cast<int64_t>(columns_.size()); left > 0; --left) {
            std::swap(columns_[below(draws_, left)], columns_[left - 1]);
            const int32_t column = columns_[left - 1];
            const auto [low, high] = std::minmax_element(
                first, last, [&](int32_t a, int32_t b) { return rows_.row(a)[column] < rows_.row(b)[column]; });
            const double least = rows_.row(*low)[column], most = rows_.row(*high)[column];
            if (!(least < most)) continue;
            const double threshold = least + uniform(draws_) * (most - least);
            tree_.column[node] = column;
            tree_.threshold[node] = threshold < most ? threshold : least;  // both sides keep a row
            return true;
        }
        return false;
    }

    const PointTable& rows_;
    std::mt19937_64& draws_;
    std::vector<int32_t> columns_, chosen_;
    int most_depth_;
    IsolationTree tree_;
};

double path_length(const IsolationTree& tree, const float* row) {
    int32_t node = 0;
    double length = 0;
    for (; tree.left[node] >= 0; ++length)
        node = row[tree.column[node]] <= tree.threshold[node] ? tree.left[node] : tree.right[node];
    return length + mean_path(tree.rows[node]);
}

}  // namespace

double mean_path(int64_t n) {
    if (n <= 1) return 0;
    if (n == 2) return 1;
    const auto x = static_cast<double>(n);
    return 2 * (std::log(x - 1) + kEulerGamma) - 2 * (x - 1) / x;
}

double IsolationForest::score(const float* row) const {
    double sum = 0;
    for (const IsolationTree& tree : trees) sum += path_length(tree, row);
    const double whole = static_cast<double>(trees.size()) * mean_path(tree_samples);
    return whole > 0 ? std::exp2(-sum / whole) : 1;
}

IsolationForest grow_isolation_forest(const PointTable& rows, int64_t trees, int64_t tree_samples, uint64_t seed) {
    IsolationForest forest;
    forest.tree_samples = std::min(tree_samples, rows.rows);
    std::mt19937_64 draws(seed);
    for (int64_t i = 0; i < trees; ++i) forest.trees.push_back(Grower(rows, forest.tree_samples, draws).grow());
    return forest;
}

}  // namespace savepoint
