#include "core/analysis/start_layout.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <random>
#include <span>

#include "core/analysis/spectral.h"

namespace savepoint {

namespace {

constexpr double kSide = 10;  // of the box that the map starts in
constexpr double kNoise = 1e-4;
constexpr int64_t kFewPoints = 10;

// std::normal_distribution is another function in every library; this is the same everywhere.
class Draws {
   public:
    explicit Draws(uint64_t seed) : engine_(seed) {}
    double uniform() { return static_cast<double>(engine_() >> 11) * 0x1p-53; }
    double normal() { return std::sqrt(-2 * std::log(1 - uniform())) * std::cos(6.283185307179586 * uniform()); }

   private:
    std::mt19937_64 engine_;
};

void scale_to_box(std::vector<float>& layout, int64_t columns) {
    for (int64_t c = 0; c < columns; ++c) {
        float low = std::numeric_limits<float>::max(), high = std::numeric_limits<float>::lowest();
        for (size_t i = c; i < layout.size(); i += columns) {
            low = std::min(low, layout[i]);
            high = std::max(high, layout[i]);
        }
        const float scale = high > low ? static_cast<float>(kSide) / (high - low) : 0.0f;
        for (size_t i = c; i < layout.size(); i += columns) layout[i] = (layout[i] - low) * scale;
    }
}

void add_noise(std::vector<float>& layout, Draws& draws) {
    for (float& x : layout) x += static_cast<float>(kNoise * draws.normal());
}

// -- principal axes, in one thread and one order of sums --------------------------------------------------------

constexpr int64_t kAxes = 8, kSample = 1024;
constexpr int kPowerRounds = 20;
using Axes = std::vector<std::array<float, kAxes>>;  // [columns][axis]

std::array<float, kAxes> on_axes(const float* row, const float* mean, const Axes& axes) {
    std::array<float, kAxes> result{};
    for (size_t c = 0; c < axes.size(); ++c) {
        const float x = row[c] - mean[c];
        for (int64_t j = 0; j < kAxes; ++j) result[j] += x * axes[c][j];
    }
    return result;
}

void orthonormalise(Axes& axes) {  // Gram-Schmidt, the first axis first
    for (int64_t j = 0; j < kAxes; ++j) {
        for (int64_t before = 0; before <= j; ++before) {
            double dot = 0;
            for (const auto& row : axes) dot += static_cast<double>(row[before]) * row[j];
            const bool self = before == j;
            const double length = std::sqrt(std::max(dot, 1e-60));
            for (auto& row : axes) row[j] = static_cast<float>(self ? row[j] / length : row[j] - dot * row[before]);
        }
    }
}

// Block power iteration on the covariance.
Axes principal_axes(std::span<const float> rows, const std::vector<float>& mean, uint64_t seed) {
    const auto columns = static_cast<int64_t>(mean.size()), count = static_cast<int64_t>(rows.size()) / columns;
    const int64_t stride = std::max<int64_t>(1, (count + kSample - 1) / kSample);
    Draws draws(seed);
    Axes axes(mean.size());
    for (auto& row : axes)
        for (float& x : row) x = static_cast<float>(draws.normal());
    orthonormalise(axes);
    for (int round = 0; round < kPowerRounds; ++round) {
        Axes image(mean.size(), std::array<float, kAxes>{});
        for (int64_t i = 0; i < count; i += stride) {
            const float* row = rows.data() + i * columns;
            const auto scores = on_axes(row, mean.data(), axes);
            for (int64_t c = 0; c < columns; ++c)
                for (int64_t j = 0; j < kAxes; ++j) image[c][j] += (row[c] - mean[c]) * scores[j];
        }
        axes.swap(image);
        orthonormalise(axes);
    }
    return axes;
}

std::vector<float> mean_row(std::span<const float> rows, int64_t columns) {
    std::vector<double> sum(static_cast<size_t>(columns), 0.0);
    for (size_t i = 0; i < rows.size(); ++i) sum[i % columns] += rows[i];
    std::vector<float> mean;
    for (const double x : sum) mean.push_back(static_cast<float>(x * columns / static_cast<double>(rows.size())));
    return mean;
}

// [rows, components]; columns beyond the width of the data are zero.
std::vector<float> pca_layout(std::span<const float> rows, int64_t columns, int components, uint64_t seed) {
    const std::vector<float> mean = mean_row(rows, columns);
    const Axes axes = principal_axes(rows, mean, seed);
    std::vector<float> layout;
    for (size_t at = 0; at < rows.size(); at += columns) {
        const auto scores = on_axes(rows.data() + at, mean.data(), axes);
        for (int j = 0; j < components; ++j) layout.push_back(j < columns ? scores[j] : 0.0f);
    }
    return layout;
}

// -- parts of a graph ------------------------------------------------------------------------------------------

std::vector<std::vector<int32_t>> members(const std::vector<int32_t>& part) {
    std::vector<std::vector<int32_t>> result(*std::max_element(part.begin(), part.end()) + 1);
    for (size_t i = 0; i < part.size(); ++i) result[part[i]].push_back(static_cast<int32_t>(i));
    return result;
}

SparseGraph subgraph(const SparseGraph& graph, const std::vector<int32_t>& rows) {
    std::vector<int32_t> place(static_cast<size_t>(graph.rows()), -1);
    for (size_t i = 0; i < rows.size(); ++i) place[rows[i]] = static_cast<int32_t>(i);
    SparseGraph part{{0}, {}, {}};
    for (const int32_t row : rows) {
        for (int64_t e = graph.row_begin[row]; e < graph.row_begin[row + 1]; ++e) {
            part.column.push_back(place[graph.column[e]]);
            part.weight.push_back(graph.weight[e]);
        }
        part.row_begin.push_back(static_cast<int64_t>(part.column.size()));
    }
    return part;
}

// The layout of one part, no further than 1 from the origin.
std::vector<float> part_layout(const SparseGraph& graph, int components, Draws& draws, uint64_t seed) {
    std::vector<float> layout;
    if (graph.rows() > kFewPoints) {
        layout = spectral_embedding(graph, components, seed);
        scale_to_box(layout, components);
    } else {
        for (int64_t i = 0; i < graph.rows() * components; ++i)
            layout.push_back(static_cast<float>(kSide * draws.uniform()));
    }
    const double reach = kSide / 2 * std::sqrt(components);
    for (float& x : layout) x = static_cast<float>((x - kSide / 2) / reach);
    return layout;
}

std::vector<float> centres(const PointSearch& points, const std::vector<std::vector<int32_t>>& parts, int components,
                           uint64_t seed) {
    const int64_t columns = points.prepared_columns();
    std::vector<float> means;
    for (const auto& part : parts) {
        std::vector<double> sum(static_cast<size_t>(columns), 0.0);
        for (const int32_t i : part)
            for (int64_t c = 0; c < columns; ++c) sum[c] += points.prepared()[i * columns + c];
        for (const double x : sum) means.push_back(static_cast<float>(x / static_cast<double>(part.size())));
    }
    std::vector<float> layout = pca_layout(means, columns, components, seed);
    scale_to_box(layout, components);
    return layout;
}

// Half the distance to the nearest other centre, but never nothing.
double room_around(const std::vector<float>& centres, int64_t part, int components) {
    const auto count = static_cast<int64_t>(centres.size()) / components;
    double nearest = std::numeric_limits<double>::max();
    for (int64_t other = 0; other < count; ++other) {
        double squared = 0;
        for (int c = 0; c < components; ++c)
            squared += std::pow(centres[other * components + c] - centres[part * components + c], 2);
        if (other != part) nearest = std::min(nearest, squared);
    }
    return std::max(std::sqrt(nearest) / 2, kSide / 10 / static_cast<double>(count));
}

std::vector<float> parts_layout(const PointSearch& points, const SparseGraph& graph,
                                const std::vector<std::vector<int32_t>>& parts, int components, uint64_t seed) {
    std::vector<float> layout(static_cast<size_t>(graph.rows() * components));
    const std::vector<float> centre = centres(points, parts, components, seed);
    Draws draws(seed);
    for (size_t p = 0; p < parts.size(); ++p) {
        const std::vector<float> own = part_layout(subgraph(graph, parts[p]), components, draws, seed);
        const double room = room_around(centre, static_cast<int64_t>(p), components);
        for (size_t i = 0; i < parts[p].size(); ++i)
            for (int c = 0; c < components; ++c)
                layout[parts[p][i] * components + c] =
                    centre[p * components + c] + static_cast<float>(room * own[i * components + c]);
    }
    return layout;
}

std::vector<float> spectral_layout(const PointSearch& points, const SparseGraph& graph, int components, uint64_t seed) {
    const auto parts = members(connected_components(graph));
    if (parts.size() > 1) return parts_layout(points, graph, parts, components, seed);
    Draws draws(seed);
    return part_layout(graph, components, draws, seed);
}

}  // namespace

std::vector<float> start_layout(const PointSearch& points, const SparseGraph& graph, UmapStart start, int components,
                                uint64_t seed) {
    std::vector<float> layout = start == UmapStart::pca
                                    ? pca_layout(points.prepared(), points.prepared_columns(), components, seed)
                                    : spectral_layout(points, graph, components, seed);
    scale_to_box(layout, components);
    Draws draws(seed ^ 0x5eed);
    add_noise(layout, draws);
    return layout;
}

}  // namespace savepoint
