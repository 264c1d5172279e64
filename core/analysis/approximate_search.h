#pragma once

#include <cstdint>
#include <memory>

#include "core/analysis/knn.h"

namespace savepoint {

// Neighbours by a hierarchical navigable small world graph (Malkov & Yashunin 2018; hnswlib): most of the true ones, in
// time that grows little faster than the number of points. How many are found is measured, not promised: recall().
// Distances are exact: those of PointSearch, of the same prepared rows.
class ApproximateSearch {
   public:
    struct Options {
        int links = 16;            // M: of a point to others, on each level
        int build_breadth = 128;   // ef_construction: candidates looked at while a point is put in
        int search_breadth = 128;  // ef: while it is searched for; raised to twice k
        uint64_t seed = 1;         // of the levels
        // Points are put in one after the other by one thread, so that the graph does not depend on their timing.
        bool reproducible = true;
    };
    // Keeps a reference to the points.
    ApproximateSearch(const PointSearch& points, const Options& options);
    ~ApproximateSearch();

    int64_t inserted() const { return inserted_; }
    void insert(int64_t count);  // the next so many points
    // Once all are in: neighbours of the search's own points first .. last, as PointSearch::search gives them. Where
    // the graph leads to fewer than k, those rows are searched exactly. Uses threads().
    void search(int64_t first, int64_t last, Neighbours& out) const;
    // Share of the exact neighbours among those found, over at most so many rows, evenly spaced.
    double recall(const Neighbours& found, int64_t sample = 100) const;

   private:
    struct Graph;
    const PointSearch& points_;
    Options options_;
    int64_t inserted_ = 0;
    std::unique_ptr<Graph> graph_;
};

}  // namespace savepoint
