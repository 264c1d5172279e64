#pragma once

#include <cmath>
#include <cstdint>
#include <memory>

#include "core/analysis/approximate_search.h"
#include "core/analysis/fuzzy_graph.h"
#include "core/analysis/knn.h"
#include "core/analysis/point_table.h"
#include "core/analysis/umap_settings.h"

namespace savepoint {

struct LayoutPass;
class ThreadTeam;

// Uniform manifold approximation and projection (McInnes, Healy, Melville 2018), of our own, step by step:
//   Umap map(points, settings);
//   while (map.step()) draw(map.layout());
// Stopping early keeps the layout as it is; it can be drawn, measured, and transformed into all the same.
//
// What differs from umap-learn 0.5: neighbours are exact (or, of very many points, by HNSW), and forces on a point are
// taken eight at a time. In reproducible mode every point moves itself alone, from where all stood before, in two
// sweeps an epoch (edges with their negative samples, then edges alone): so it comes to the moves of umap-learn's
// edges, which move both ends, and any number of threads gives the same bits. Otherwise edges move both ends in place,
// as umap-learn's threads do.
class Umap {
   public:
    // Throws InputError on points as check_points does, unless neighbors < rows, and on settings out of range.
    Umap(const PointTable& points, const UmapSettings& settings);

    // A step of the search for neighbours (about 0.1 s), the graph, the start, or so many epochs of the layout.
    // Returns whether there is more to do. Uses threads().
    bool step(int epochs = 10);
    bool done() const { return stage_ == Stage::done; }
    double progress() const;    // 0 .. 1, by expected time
    const char* stage() const;  // in words
    int epoch() const { return epoch_; }
    int epochs() const { return epochs_; }

    bool has_layout() const { return !places_.empty(); }
    PointTable layout() const;  // [rows, components]; no rows before there is one

    // New points in the map as it is, which stays as it is: each starts at the mean of its neighbours' places,
    // weighted by membership, and is then moved by them for 100 epochs (a third of `epochs` where that is set) at
    // a quarter of the learning rate. Where a point goes is a function of the map and of that point alone.
    // Throws InputError on points that do not fit, and before there is a layout.
    PointTable transform(const PointTable& points) const;

    const UmapSettings& settings() const { return settings_; }
    CurveFit curve() const { return curve_; }
    const Neighbours& neighbours() const { return neighbours_; }  // complete once the graph is there
    bool approximate() const { return near_ != nullptr; }
    double recall() const { return recall_; }  // of approximate neighbours, measured on 100 points; NaN: exact
    const SparseGraph& graph() const { return graph_; }  // fuzzy union; edges too weak to be drawn are gone

   private:
    enum class Stage { neighbours, graph, start, layout, done };
    void find_neighbours();
    void make_graph();
    void place_points();
    void run_epochs(int epochs);
    LayoutPass common_pass() const;
    void sweep(ThreadTeam& team, LayoutPass pass);

    UmapSettings settings_;
    CurveFit curve_;
    int epochs_ = 0, epoch_ = 0;
    Stage stage_ = Stage::neighbours;
    std::shared_ptr<const PointSearch> search_;
    std::shared_ptr<ApproximateSearch> near_;  // of it; null: exact
    double recall_ = NAN;
    Neighbours neighbours_;
    int64_t searched_ = 0;
    SparseGraph graph_;
    std::vector<float> rate_;           // [edges] weight over the largest weight
    std::vector<float> places_, next_;  // [rows, 2], or [rows, 4] in three dimensions
};

}  // namespace savepoint
