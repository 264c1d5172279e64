#include "core/analysis/knn.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "core/analysis/map_kernels.h"
#include "core/model/error.h"
#include "core/model/parallel.h"

namespace savepoint {

namespace {

constexpr int64_t kGroup = 8 * map_tile;  // queries of one task
constexpr int64_t kSpare = 8;             // candidates beyond k
constexpr int64_t kFewColumns = 16;       // up to here differences cost no more than products, and cancel nothing
constexpr float kFar = std::numeric_limits<float>::infinity();

std::vector<double> column_means(const PointTable& points) {
    std::vector<double> mean(static_cast<size_t>(points.columns), 0.0);
    for (int64_t i = 0; i < points.rows; ++i)
        for (int64_t c = 0; c < points.columns; ++c) mean[c] += points.row(i)[c];
    for (double& value : mean) value /= static_cast<double>(points.rows);
    return mean;
}

double mean_of(const float* row, int64_t columns) {
    double sum = 0;
    for (int64_t c = 0; c < columns; ++c) sum += row[c];
    return sum / static_cast<double>(columns);
}

// The row scaled to length 1, less `centre`; a row without a direction gets one of its own, the last column.
void write_direction(const float* row, int64_t columns, double centre, float* to) {
    double squares = 0, largest = 0;
    for (int64_t c = 0; c < columns; ++c) {
        squares += (row[c] - centre) * (row[c] - centre);
        largest = std::max(largest, std::abs(static_cast<double>(row[c])));
    }
    const double length = std::sqrt(squares);
    const bool directed = length > 1e-7 * largest * std::sqrt(static_cast<double>(columns));
    for (int64_t c = 0; c < columns; ++c) to[c] = directed ? static_cast<float>((row[c] - centre) / length) : 0.0f;
    to[columns] = directed ? 0.0f : 1.0f;
}

}  // namespace

void NearestSoFar::add(const float* distances, int64_t count, int64_t first) {
    std::array<int32_t, nearest_block> hits;
    const int64_t found = map_kernels().find_below(distances, count, limit_, hits.data());
    for (int64_t h = 0; h < found; ++h) kept_.push_back({distances[hits[h]], static_cast<int32_t>(first + hits[h])});
    if (kept_.size() < most_) return;
    // A block's indices are higher than those before it: an equally far candidate would lose against the last one kept.
    std::nth_element(kept_.begin(), kept_.begin() + static_cast<std::ptrdiff_t>(most_) - 1, kept_.end());
    kept_.resize(most_);
    limit_ = kept_.back().distance;
}

void check_points(const PointTable& points, const std::string& what) {
    if (points.rows < 1 || points.columns < 1)
        throw InputError(what + ": no points; give a table with at least one row and one column");
    if (points.rows > std::numeric_limits<int32_t>::max() ||
        points.values.size() / static_cast<size_t>(points.columns) != static_cast<size_t>(points.rows) ||
        points.values.size() % static_cast<size_t>(points.columns) != 0)
        throw InputError(what + ": " + std::to_string(points.values.size()) + " values for " +
                         std::to_string(points.rows) + " rows of " + std::to_string(points.columns));
    const auto bad =
        std::find_if_not(points.values.begin(), points.values.end(), [](float x) { return std::isfinite(x); });
    if (bad != points.values.end())
        throw InputError(what + ": row " + std::to_string((bad - points.values.begin()) / points.columns) +
                         " holds a value that is not finite");
}

// Rows to search for, where the first of them is among the search's own points, and what they are compared by.
struct PointSearch::Queries {
    const float* rows;
    const float* norms;
    bool own;
};

PointSearch::PointSearch(const PointTable& points, PointMetric metric) : metric_(metric) {
    check_points(points, "points");
    rows_ = points.rows;
    given_columns_ = points.columns;
    columns_ = metric == PointMetric::euclidean ? points.columns : points.columns + 1;
    panels_ = (rows_ + map_panel - 1) / map_panel;
    if (metric == PointMetric::euclidean)
        for (const double value : column_means(points)) mean_.push_back(static_cast<float>(value));
    prepare(points, prepared_);
    pack();
}

void PointSearch::prepare(const PointTable& points, std::vector<float>& out) const {
    out.resize(static_cast<size_t>(points.rows * columns_));
    for (int64_t i = 0; i < points.rows; ++i) {
        const float* row = points.row(i);
        float* to = out.data() + i * columns_;
        if (metric_ == PointMetric::euclidean)
            for (int64_t c = 0; c < columns_; ++c) to[c] = row[c] - mean_[c];
        else
            write_direction(row, points.columns,
                            metric_ == PointMetric::correlation ? mean_of(row, points.columns) : 0.0, to);
    }
}

// Throws where a distance between such rows could overflow.
static std::vector<float> squared_lengths(const std::vector<float>& rows, int64_t columns) {
    constexpr float largest = 1e37f;
    const std::vector<float> origin(static_cast<size_t>(columns), 0.0f);
    std::vector<float> norms;
    for (size_t at = 0; at < rows.size(); at += static_cast<size_t>(columns)) {
        norms.push_back(map_kernels().squared_distance(rows.data() + at, origin.data(), columns));
        if (!(norms.back() < largest))
            throw InputError("points: row " + std::to_string(norms.size() - 1) +
                             " is too long for distances in float32; scale the table down");
    }
    return norms;
}

void PointSearch::pack() {
    norms_ = squared_lengths(prepared_, columns_);
    packed_norms_ = norms_;
    packed_norms_.resize(static_cast<size_t>(padded_rows()), 0.0f);
    packed_.assign(static_cast<size_t>(padded_rows() * columns_), 0.0f);
    for (int64_t i = 0; i < rows_; ++i) {
        float* lane = packed_.data() + i / map_panel * map_panel * columns_ + i % map_panel;
        for (int64_t c = 0; c < columns_; ++c) lane[c * map_panel] = prepared_[i * columns_ + c];
    }
}

void PointSearch::tile(const float* const* queries, const float* norms, int64_t first_panel, int64_t panels, float* out,
                       int64_t stride) const {
    const float* points = packed_.data() + first_panel * map_panel * columns_;
    if (columns_ <= kFewColumns)
        map_kernels().by_difference(queries, points, panels, columns_, out, stride);
    else
        map_kernels().by_product(queries, norms, points, packed_norms_.data() + first_panel * map_panel, panels,
                                 columns_, out, stride);
}

namespace {

// Six queries for a tile; a short tile repeats its last one, so that every query is computed in the same way.
struct Tile {
    std::array<const float*, map_tile> rows;
    std::array<float, map_tile> norms;

    Tile(const float* table, const float* table_norms, int64_t columns, int64_t first, int64_t last) {
        for (int64_t q = 0; q < map_tile; ++q) {
            const int64_t at = std::min(first + q, last - 1);
            rows[q] = table + at * columns;
            norms[q] = table_norms[at];
        }
    }
};

}  // namespace

void PointSearch::squared_distances(std::span<const int64_t> which, float* out) const {
    std::array<const float*, map_tile> queries;
    std::array<float, map_tile> norms;
    for (size_t q = 0; q < queries.size(); ++q) {
        const int64_t row = which[std::min(q, which.size() - 1)];
        queries[q] = prepared_.data() + row * columns_;
        norms[q] = norms_[row];
    }
    tile(queries.data(), norms.data(), 0, panels_, out, padded_rows());
    for (int64_t q = 0; q < map_tile; ++q)
        std::fill(out + q * padded_rows() + rows_, out + (q + 1) * padded_rows(), kFar);
}

float PointSearch::length(const float* a, const float* b) const {
    return length_of(map_kernels().squared_distance(a, b, columns_));
}

void PointSearch::search_group(const Queries& queries, int64_t first, int64_t last, Neighbours& out) const {
    constexpr int64_t panels_at_once = nearest_block / map_panel;
    thread_local std::vector<float> block(kGroup * nearest_block);
    std::vector<NearestSoFar> nearest(static_cast<size_t>(last - first), NearestSoFar(out.k + kSpare));
    for (int64_t panel = 0; panel < panels_; panel += panels_at_once) {
        const int64_t panels = std::min(panels_at_once, panels_ - panel), from = panel * map_panel;
        for (int64_t q = first; q < last; q += map_tile) {
            const Tile rows(queries.rows, queries.norms, columns_, q, std::min(last, q + map_tile));
            tile(rows.rows.data(), rows.norms.data(), panel, panels, block.data() + (q - first) * nearest_block,
                 nearest_block);
        }
        const int64_t points = std::min(panels * map_panel, rows_ - from);
        for (int64_t q = first; q < last; ++q) {
            float* distances = block.data() + (q - first) * nearest_block;
            if (queries.own && q >= from && q < from + points) distances[q - from] = kFar;
            nearest[q - first].add(distances, points, from);
        }
    }
    for (int64_t q = first; q < last; ++q) rank(queries.rows + q * columns_, nearest[q - first].kept(), q, out);
}

void PointSearch::rank(const float* query, std::vector<Neighbour>& kept, int64_t row, Neighbours& out) const {
    for (Neighbour& c : kept) c.distance = length(query, prepared_.data() + c.index * columns_);
    std::sort(kept.begin(), kept.end());
    for (int64_t j = 0; j < out.k; ++j) {
        out.index[row * out.k + j] = kept[j].index;
        out.distance[row * out.k + j] = kept[j].distance;
    }
}

static void check_count(int64_t k, int64_t most) {
    if (k < 1 || k > most)
        throw InputError("neighbours: " + std::to_string(k) + " asked for, but there are " + std::to_string(most) +
                         " other points; give more points or ask for fewer neighbours");
}

void PointSearch::search(int64_t first, int64_t last, Neighbours& out) const {
    check_count(out.k, rows_ - 1);
    const Queries queries{prepared_.data(), norms_.data(), true};
    parallel_tasks((last - first + kGroup - 1) / kGroup, [&](int64_t task) {
        const int64_t from = first + task * kGroup;
        search_group(queries, from, std::min(last, from + kGroup), out);
    });
}

static Neighbours room_for(int64_t rows, int64_t k) {
    const auto size = static_cast<size_t>(rows * k);
    return {rows, k, std::vector<int32_t>(size), std::vector<float>(size)};
}

Neighbours PointSearch::search_all(int64_t k) const {
    check_count(k, rows_ - 1);
    Neighbours out = room_for(rows_, k);
    search(0, rows_, out);
    return out;
}

Neighbours PointSearch::search(const PointTable& points, int64_t k) const {
    check_points(points, "new points");
    if (points.columns != given_columns_)
        throw InputError("new points: " + std::to_string(points.columns) + " columns; the points searched have " +
                         std::to_string(given_columns_));
    check_count(k, rows_);
    std::vector<float> rows;
    prepare(points, rows);
    const std::vector<float> norms = squared_lengths(rows, columns_);
    Neighbours out = room_for(points.rows, k);
    const Queries queries{rows.data(), norms.data(), false};
    parallel_tasks((points.rows + kGroup - 1) / kGroup, [&](int64_t task) {
        const int64_t from = task * kGroup;
        search_group(queries, from, std::min(points.rows, from + kGroup), out);
    });
    return out;
}

}  // namespace savepoint
