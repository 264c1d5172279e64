#include "core/analysis/hdbscan.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <string>

#include "core/analysis/knn.h"
#include "core/model/error.h"

namespace savepoint {
namespace {

constexpr int64_t kAskEvery = 256;

struct Edge {
    int32_t a, b;
    double length;
};

double distance(const float* a, const float* b, int64_t columns) {
    double sum = 0;
    for (int64_t c = 0; c < columns; ++c) {
        const double difference = static_cast<double>(a[c]) - b[c];
        sum += difference * difference;
    }
    return std::sqrt(sum);
}

// In double, from the neighbours found in float: distances in the tree must not differ by rounding.
std::vector<double> core_distances(const PointTable& points, int64_t samples) {
    std::vector<double> core(static_cast<size_t>(points.rows), 0.0);
    if (samples <= 1) return core;
    const Neighbours near = PointSearch(points, PointMetric::euclidean).search_all(samples - 1);
    for (int64_t i = 0; i < points.rows; ++i)
        for (int64_t e = i * near.k; e < (i + 1) * near.k; ++e)
            core[i] = std::max(core[i], distance(points.row(i), points.row(near.index[e]), points.columns));
    return core;
}

// Prim's minimum spanning tree of the mutual reachability.
std::vector<Edge> spanning_tree(const PointTable& points, const std::vector<double>& core,
                                const std::function<bool()>& go_on) {
    const auto rows = static_cast<size_t>(points.rows);
    std::vector<double> nearest(rows, std::numeric_limits<double>::infinity());
    std::vector<int32_t> from(rows, 0), left(rows - 1);
    std::iota(left.begin(), left.end(), 1);
    std::vector<Edge> edges;
    int32_t current = 0;
    while (!left.empty()) {
        if (go_on && edges.size() % kAskEvery == 0 && !go_on()) throw Cancelled();
        size_t best = 0;
        for (size_t i = 0; i < left.size(); ++i) {
            const int32_t j = left[i];
            const double apart = distance(points.row(current), points.row(j), points.columns);
            const double reach = std::max({core[current], core[j], apart});
            if (reach < nearest[j]) nearest[j] = reach, from[j] = current;
            if (nearest[j] < nearest[left[best]]) best = i;
        }
        const int32_t next = left[best];
        edges.push_back({from[next], next, nearest[next]});
        left[best] = left.back();
        left.pop_back();
        current = next;
    }
    std::stable_sort(edges.begin(), edges.end(), [](const Edge& x, const Edge& y) { return x.length < y.length; });
    return edges;
}

// The single-linkage tree: node rows + e joins two by edge e.
struct Linkage {
    std::vector<int32_t> left, right, size;
    std::vector<double> height;
    int32_t rows;
    int32_t size_of(int32_t node) const { return node < rows ? 1 : size[node - rows]; }
};

Linkage link(const std::vector<Edge>& edges) {
    Linkage tree;
    tree.rows = static_cast<int32_t>(edges.size()) + 1;
    std::vector<int32_t> parent(2 * edges.size() + 1);
    std::iota(parent.begin(), parent.end(), 0);
    const auto root = [&](int32_t node) {
        while (parent[node] != node) node = parent[node] = parent[parent[node]];
        return node;
    };
    for (size_t e = 0; e < edges.size(); ++e) {
        const int32_t a = root(edges[e].a), b = root(edges[e].b), joined = tree.rows + static_cast<int32_t>(e);
        tree.left.push_back(a), tree.right.push_back(b);
        tree.size.push_back(tree.size_of(a) + tree.size_of(b));
        tree.height.push_back(edges[e].length);
        parent[a] = parent[b] = joined;
    }
    return tree;
}

// Clusters of at least so many points; what leaves one earlier falls out of it.
struct Condensed {
    std::vector<int32_t> parent;    // of a cluster; 0 is the root, its parent -1
    std::vector<double> birth;      // 1 / height at which it splits from its parent
    std::vector<double> stability;  // sum over its points of (1 / height at which they leave) - birth
    std::vector<int32_t> owner;     // [rows] the smallest cluster that each point is in
};

class Condenser {
   public:
    Condenser(const Linkage& tree, int32_t least) : tree_(tree), least_(least) {
        out_.owner.assign(static_cast<size_t>(tree.rows), 0);
        add(-1, 0);
        std::vector<std::pair<int32_t, int32_t>> stack{{2 * tree.rows - 2, 0}};
        while (!stack.empty()) {
            const auto [node, cluster] = stack.back();
            stack.pop_back();
            split(node, cluster, stack);
        }
    }
    Condensed take() { return std::move(out_); }

   private:
    int32_t add(int32_t parent, double birth) {
        out_.parent.push_back(parent), out_.birth.push_back(birth), out_.stability.push_back(0);
        return static_cast<int32_t>(out_.parent.size()) - 1;
    }

    void leave(int32_t cluster, int32_t points, double lambda) {
        out_.stability[cluster] += points * (lambda - out_.birth[cluster]);
    }

    void drop(int32_t node, int32_t cluster, double lambda) {
        leave(cluster, tree_.size_of(node), lambda);
        std::vector<int32_t> stack{node};
        while (!stack.empty()) {
            const int32_t at = stack.back();
            stack.pop_back();
            if (at < tree_.rows) {
                out_.owner[at] = cluster;
                continue;
            }
            stack.push_back(tree_.left[at - tree_.rows]), stack.push_back(tree_.right[at - tree_.rows]);
        }
    }

    void split(int32_t node, int32_t cluster, std::vector<std::pair<int32_t, int32_t>>& stack) {
        const auto at = static_cast<size_t>(node - tree_.rows);
        const double lambda = 1 / std::max(tree_.height[at], 1e-12);
        const int32_t left = tree_.left[at], right = tree_.right[at];
        const bool left_stays = tree_.size_of(left) >= least_, right_stays = tree_.size_of(right) >= least_;
        for (const auto& [child, stays] : {std::pair{left, left_stays}, std::pair{right, right_stays}}) {
            if (!stays) {
                drop(child, cluster, lambda);
            } else if (left_stays && right_stays) {
                leave(cluster, tree_.size_of(child), lambda);
                stack.emplace_back(child, add(cluster, lambda));
            } else {
                stack.emplace_back(child, cluster);
            }
        }
    }

    const Linkage& tree_;
    int32_t least_;
    Condensed out_;
};

// The clusters whose stability exceeds that of all below them, the root left out.
std::vector<char> most_stable(const Condensed& tree) {
    std::vector<double> below(tree.parent.size(), 0), best = tree.stability;
    std::vector<char> chosen(tree.parent.size(), 0);
    for (size_t c = tree.parent.size() - 1; c > 0; --c) {  // a child comes after its parent
        chosen[c] = tree.stability[c] >= below[c];
        best[c] = std::max(tree.stability[c], below[c]);
        below[tree.parent[c]] += best[c];
    }
    for (size_t c = 1; c < chosen.size(); ++c)  // nothing below a chosen one
        for (int32_t up = tree.parent[c]; up > 0 && chosen[c]; up = tree.parent[up])
            if (chosen[up]) chosen[c] = 0;
    return chosen;
}

Hdbscan labels(const Condensed& tree, const std::vector<char>& chosen) {
    Hdbscan result;
    std::vector<int64_t> count(chosen.size(), 0);
    std::vector<int32_t> cluster(tree.owner.size(), -1);
    for (size_t i = 0; i < tree.owner.size(); ++i) {
        int32_t at = tree.owner[i];
        while (at > 0 && !chosen[at]) at = tree.parent[at];
        if (at > 0) cluster[i] = at, ++count[at];
    }
    std::vector<int32_t> order;
    for (size_t c = 1; c < chosen.size(); ++c)
        if (chosen[c]) order.push_back(static_cast<int32_t>(c));
    std::stable_sort(order.begin(), order.end(), [&](int32_t a, int32_t b) { return count[a] > count[b]; });
    std::vector<int32_t> name(chosen.size(), -1);
    for (size_t k = 0; k < order.size(); ++k) name[order[k]] = static_cast<int32_t>(k);
    for (const int32_t c : cluster) result.label.push_back(c < 0 ? -1 : name[c]);
    result.clusters = static_cast<int32_t>(order.size());
    return result;
}

}  // namespace

Hdbscan hdbscan(const PointTable& points, const HdbscanSettings& settings, const std::function<bool()>& go_on) {
    check_points(points, "HDBSCAN");
    const int samples = settings.min_samples > 0 ? settings.min_samples : settings.min_cluster_size;
    if (settings.min_cluster_size < 2) throw InputError("HDBSCAN: a cluster must have at least 2 points");
    if (samples > points.rows)
        throw InputError("HDBSCAN: min_samples is " + std::to_string(samples) + ", but there are only " +
                         std::to_string(points.rows) + " points");
    if (points.rows < 2) return {{-1}, 0};
    const Linkage tree = link(spanning_tree(points, core_distances(points, samples), go_on));
    const Condensed condensed = Condenser(tree, settings.min_cluster_size).take();
    return labels(condensed, most_stable(condensed));
}

}  // namespace savepoint
