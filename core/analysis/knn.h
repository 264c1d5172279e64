#pragma once

#include <cmath>
#include <cstdint>
#include <limits>
#include <span>
#include <string>
#include <vector>

#include "core/analysis/point_table.h"
#include "core/analysis/umap_settings.h"

namespace savepoint {

// The k nearest of each row, nearest first; equally far ones by index. Distances are Euclidean lengths,
// 1 - cosine, or 1 - correlation.
struct Neighbours {
    int64_t rows = 0, k = 0;
    std::vector<int32_t> index;   // [rows, k]
    std::vector<float> distance;  // [rows, k]
};

// Throws InputError, which names `what`, on a table with no rows or columns, on a number of values that is not
// rows x columns, and on a value that is not finite.
void check_points(const PointTable& points, const std::string& what);

// A point as one query sees it; nearer ones first, equally far ones by index.
struct Neighbour {
    float distance;
    int32_t index;
    bool operator<(const Neighbour& other) const {
        return distance != other.distance ? distance < other.distance : index < other.index;
    }
};

// The nearest of many candidates, which come block by block, in order of their indices.
class NearestSoFar {
   public:
    explicit NearestSoFar(int64_t most) : most_(static_cast<size_t>(most)) {}
    // Distances of points first, first + 1, ...; at most nearest_block of them. Infinite ones are never kept.
    void add(const float* distances, int64_t count, int64_t first);
    std::vector<Neighbour>& kept() { return kept_; }  // in no order

   private:
    size_t most_;
    float limit_ = std::numeric_limits<float>::infinity();
    std::vector<Neighbour> kept_;
};
constexpr int64_t nearest_block = 512;

// Points made ready for exact search. Distances are computed by matrix products in float32 of the centred rows
// (of unit rows for cosine and correlation); eight more candidates than asked for are kept and ranked by their
// differences, so that a neighbour is wrong only where a product in float32 errs by more than eight ranks.
// Every result is the same bit for bit whatever the number of threads and whatever else is searched with it.
class PointSearch {
   public:
    // Throws InputError as check_points does. A row without a direction (all zero; constant under correlation)
    // is at distance 1 from every other and at distance 0 from its like, as in umap-learn.
    PointSearch(const PointTable& points, PointMetric metric);

    int64_t rows() const { return rows_; }
    int64_t width() const { return given_columns_; }  // columns of the points given

    // Neighbours of the search's own points first .. last, themselves left out, into those rows of `out`,
    // which is [rows, k] already. Uses threads(). Throws InputError unless 1 <= k < rows.
    void search(int64_t first, int64_t last, Neighbours& out) const;
    Neighbours search_all(int64_t k) const;
    // Of other points among the search's own; k <= rows.
    Neighbours search(const PointTable& queries, int64_t k) const;

    // What the distances are measured on: [rows, columns] centred or of unit length, float32.
    const std::vector<float>& prepared() const { return prepared_; }
    int64_t prepared_columns() const { return columns_; }

    // Squared distances (for cosine and correlation: twice the distance) of one to six own points from all of
    // them: out [6, padded_rows()], infinite beyond rows(). Runs in the calling thread.
    void squared_distances(std::span<const int64_t> which, float* out) const;
    int64_t padded_rows() const { return panels_ * 16; }
    // The distance in the metric, of a squared one between prepared rows.
    float length_of(float squared) const {
        return metric_ == PointMetric::euclidean ? std::sqrt(squared) : squared / 2;
    }

   private:
    struct Queries;
    void prepare(const PointTable& points, std::vector<float>& out) const;
    void pack();
    void tile(const float* const* queries, const float* norms, int64_t first_panel, int64_t panels, float* out,
              int64_t stride) const;
    void search_group(const Queries& queries, int64_t first, int64_t last, Neighbours& out) const;
    void rank(const float* query, std::vector<Neighbour>& kept, int64_t row, Neighbours& out) const;
    float length(const float* a, const float* b) const;

    PointMetric metric_;
    int64_t rows_ = 0, given_columns_ = 0, columns_ = 0, panels_ = 0;
    std::vector<float> mean_, prepared_, norms_, packed_, packed_norms_;
};

}  // namespace savepoint
