#include "core/analysis/fuzzy_graph.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

namespace savepoint {

namespace {

constexpr int kBisections = 64;
constexpr double kSumTolerance = 1e-5;
constexpr double kLeastSigma = 1e-3;  // of the mean distance

double sum_of_memberships(std::span<const float> distances, double rho, double sigma) {
    double sum = 0;
    for (const float d : distances) sum += d > rho ? std::exp(-(d - rho) / sigma) : 1.0;
    return sum;
}

double bisect_sigma(std::span<const float> distances, double rho, double target) {
    double low = 0, high = std::numeric_limits<double>::infinity(), sigma = 1;
    for (int i = 0; i < kBisections; ++i) {
        const double sum = sum_of_memberships(distances, rho, sigma);
        if (std::abs(sum - target) < kSumTolerance) break;
        (sum > target ? high : low) = sigma;
        sigma = std::isinf(high) ? 2 * sigma : (low + high) / 2;
    }
    return sigma;
}

double mean(std::span<const float> values) {
    return std::accumulate(values.begin(), values.end(), 0.0) / static_cast<double>(values.size());
}

double nearest_elsewhere(std::span<const float> distances) {
    const auto found = std::find_if(distances.begin(), distances.end(), [](float d) { return d > 0; });
    return found == distances.end() ? 0.0 : *found;
}

}  // namespace

std::vector<SmoothDistance> smooth_distances(const Neighbours& neighbours, double target, bool connected) {
    const double wanted = std::log2(target), mean_of_all = mean(neighbours.distance);
    std::vector<SmoothDistance> smooth;
    smooth.reserve(static_cast<size_t>(neighbours.rows));
    for (int64_t i = 0; i < neighbours.rows; ++i) {
        const std::span distances(neighbours.distance.data() + i * neighbours.k, static_cast<size_t>(neighbours.k));
        const double rho = connected ? nearest_elsewhere(distances) : 0.0;
        const double least = kLeastSigma * (rho > 0 ? mean(distances) : mean_of_all);
        const double sigma = std::max(bisect_sigma(distances, rho, wanted), least);
        smooth.push_back({static_cast<float>(rho), static_cast<float>(sigma)});
    }
    return smooth;
}

std::vector<float> memberships(const Neighbours& neighbours, const std::vector<SmoothDistance>& smooth) {
    std::vector<float> result(neighbours.distance.size());
    for (int64_t i = 0; i < neighbours.rows; ++i) {
        const auto [rho, sigma] = smooth[i];
        for (int64_t e = i * neighbours.k; e < (i + 1) * neighbours.k; ++e) {
            const float d = neighbours.distance[e];
            result[e] = d > rho && sigma > 0 ? std::exp(-(d - rho) / sigma) : 1.0f;
        }
    }
    return result;
}

// -- union --------------------------------------------------------------------------------------------------

namespace {

struct Edge {
    int32_t to;
    float weight;
};

// Edges by the row that they lead to: the transpose of [rows, k], with what it starts from.
struct Incoming {
    std::vector<int64_t> begin;
    std::vector<Edge> edges;
};

Incoming incoming_edges(const Neighbours& neighbours, const std::vector<float>& weights) {
    Incoming in{std::vector<int64_t>(static_cast<size_t>(neighbours.rows) + 1, 0),
                std::vector<Edge>(neighbours.index.size())};
    for (const int32_t to : neighbours.index) ++in.begin[to + 1];
    std::partial_sum(in.begin.begin(), in.begin.end(), in.begin.begin());
    std::vector<int64_t> next(in.begin.begin(), in.begin.end() - 1);
    for (int64_t i = 0; i < neighbours.rows; ++i)
        for (int64_t e = i * neighbours.k; e < (i + 1) * neighbours.k; ++e)
            in.edges[next[neighbours.index[e]]++] = {static_cast<int32_t>(i), weights[e]};
    return in;
}

void add_row(std::vector<Edge>& edges, SparseGraph& graph) {
    std::sort(edges.begin(), edges.end(), [](const Edge& a, const Edge& b) { return a.to < b.to; });
    for (size_t e = 0; e < edges.size(); ++e) {
        float weight = edges[e].weight;
        if (e + 1 < edges.size() && edges[e + 1].to == edges[e].to) {  // one of each direction
            const float other = edges[++e].weight;
            weight = weight + other - weight * other;
        }
        if (weight <= 0) continue;
        graph.column.push_back(edges[e].to);
        graph.weight.push_back(weight);
    }
    graph.row_begin.push_back(static_cast<int64_t>(graph.column.size()));
}

}  // namespace

SparseGraph fuzzy_union(const Neighbours& neighbours, const std::vector<float>& memberships) {
    const Incoming in = incoming_edges(neighbours, memberships);
    SparseGraph graph{{0}, {}, {}};
    std::vector<Edge> edges;
    for (int64_t i = 0; i < neighbours.rows; ++i) {
        edges.assign(in.edges.begin() + in.begin[i], in.edges.begin() + in.begin[i + 1]);
        for (int64_t e = i * neighbours.k; e < (i + 1) * neighbours.k; ++e)
            edges.push_back({neighbours.index[e], memberships[e]});
        add_row(edges, graph);
    }
    return graph;
}

std::vector<int32_t> connected_components(const SparseGraph& graph) {
    std::vector<int32_t> component(static_cast<size_t>(graph.rows()), -1);
    std::vector<int32_t> open;
    int32_t count = 0;
    for (int64_t start = 0; start < graph.rows(); ++start) {
        if (component[start] >= 0) continue;
        component[start] = count;
        open.assign(1, static_cast<int32_t>(start));
        while (!open.empty()) {
            const int32_t at = open.back();
            open.pop_back();
            for (int64_t e = graph.row_begin[at]; e < graph.row_begin[at + 1]; ++e) {
                if (component[graph.column[e]] >= 0) continue;
                component[graph.column[e]] = count;
                open.push_back(graph.column[e]);
            }
        }
        ++count;
    }
    return component;
}

// -- the curve ------------------------------------------------------------------------------------------------

namespace {

constexpr int kCurvePoints = 300;

// Sums of a Gauss-Newton step in (log a, log b), which keeps both positive.
struct Normal {
    double aa = 0, ab = 0, bb = 0, ra = 0, rb = 0, squares = 0;
};

Normal normal_equations(double a, double b, double min_dist, double spread) {
    Normal sums;
    for (int i = 0; i < kCurvePoints; ++i) {
        const double d = 3 * spread * i / (kCurvePoints - 1);
        const double wanted = d < min_dist ? 1.0 : std::exp(-(d - min_dist) / spread);
        const double power = d > 0 ? a * std::pow(d, 2 * b) : 0.0;
        const double curve = 1 / (1 + power), residual = wanted - curve;
        const double by_a = -curve * curve * power, by_b = d > 0 ? by_a * 2 * b * std::log(d) : 0.0;
        sums.aa += by_a * by_a;
        sums.ab += by_a * by_b;
        sums.bb += by_b * by_b;
        sums.ra += by_a * residual;
        sums.rb += by_b * residual;
        sums.squares += residual * residual;
    }
    return sums;
}

}  // namespace

CurveFit fit_curve(double min_dist, double spread) {
    // Levenberg-Marquardt from (1, 1), as umap-learn starts.
    double a = 1, b = 1, damping = 1e-3;
    Normal sums = normal_equations(a, b, min_dist, spread);
    for (int i = 0; i < 200 && damping < 1e12; ++i) {
        const double aa = sums.aa * (1 + damping), bb = sums.bb * (1 + damping);
        const double determinant = aa * bb - sums.ab * sums.ab;
        if (!(determinant > 0)) break;
        const double new_a = a * std::exp((bb * sums.ra - sums.ab * sums.rb) / determinant);
        const double new_b = b * std::exp((aa * sums.rb - sums.ab * sums.ra) / determinant);
        const Normal next = normal_equations(new_a, new_b, min_dist, spread);
        if (next.squares < sums.squares) {
            a = new_a, b = new_b, sums = next, damping /= 10;
        } else {
            damping *= 10;
        }
    }
    return {a, b};
}

}  // namespace savepoint
