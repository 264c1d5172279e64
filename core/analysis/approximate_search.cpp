#include "core/analysis/approximate_search.h"

// Its prefetches read one id beyond the end of a list, for an address alone; the address sanitizer does not know that.
#ifdef __SANITIZE_ADDRESS__
#define NO_MANUAL_VECTORIZATION
#endif
#include <hnswlib/hnswlib.h>

#include <algorithm>
#include <cmath>
#include <set>

#include "core/analysis/map_kernels.h"
#include "core/model/parallel.h"

namespace savepoint {
namespace {

constexpr int64_t kPiece = 64;  // points that a thread takes at a time

// Squared distances by our own kernels, which choose their instructions when the program runs.
class SquaredDistance : public hnswlib::SpaceInterface<float> {
   public:
    explicit SquaredDistance(int64_t columns) : columns_(columns) {}
    size_t get_data_size() override { return static_cast<size_t>(columns_) * sizeof(float); }
    hnswlib::DISTFUNC<float> get_dist_func() override {
        return [](const void* a, const void* b, const void* columns) {
            return map_kernels().squared_distance(static_cast<const float*>(a), static_cast<const float*>(b),
                                                  *static_cast<const int64_t*>(columns));
        };
    }
    void* get_dist_func_param() override { return &columns_; }

   private:
    int64_t columns_;
};

}  // namespace

struct ApproximateSearch::Graph {
    Graph(int64_t rows, int64_t columns, const Options& o)
        : space(columns),
          index(&space, static_cast<size_t>(rows), static_cast<size_t>(o.links), static_cast<size_t>(o.build_breadth),
                static_cast<size_t>(o.seed)) {}
    SquaredDistance space;
    hnswlib::HierarchicalNSW<float> index;
};

ApproximateSearch::ApproximateSearch(const PointSearch& points, const Options& options)
    : points_(points),
      options_(options),
      graph_(std::make_unique<Graph>(points.rows(), points.prepared_columns(), options)) {}

ApproximateSearch::~ApproximateSearch() = default;

void ApproximateSearch::insert(int64_t count) {
    const int64_t first = inserted_, last = std::min(points_.rows(), first + count);
    const auto put = [&](int64_t i) {
        graph_->index.addPoint(points_.prepared().data() + i * points_.prepared_columns(), static_cast<size_t>(i));
    };
    const auto pieces = (last - first + kPiece - 1) / kPiece;
    if (options_.reproducible || first == 0)  // others need one to start from
        for (int64_t i = first; i < last; ++i) put(i);
    else
        parallel_tasks(pieces, [&](int64_t piece) {
            const int64_t from = first + piece * kPiece;
            for (int64_t i = from; i < std::min(last, from + kPiece); ++i) put(i);
        });
    inserted_ = last;
}

void ApproximateSearch::search(int64_t first, int64_t last, Neighbours& out) const {
    graph_->index.setEf(static_cast<size_t>(std::max<int64_t>(options_.search_breadth, 2 * (out.k + 1))));
    std::vector<char> short_of(static_cast<size_t>(last - first), 0);
    parallel_tasks((last - first + kPiece - 1) / kPiece, [&](int64_t piece) {
        std::vector<Neighbour> kept;
        const int64_t from = first + piece * kPiece;
        for (int64_t i = from; i < std::min(last, from + kPiece); ++i) {
            const float* row = points_.prepared().data() + i * points_.prepared_columns();
            auto found = graph_->index.searchKnn(row, static_cast<size_t>(out.k + 1));
            kept.clear();
            for (; !found.empty(); found.pop())
                if (static_cast<int64_t>(found.top().second) != i)
                    kept.push_back({points_.length_of(found.top().first), static_cast<int32_t>(found.top().second)});
            if (static_cast<int64_t>(kept.size()) < out.k) {
                short_of[static_cast<size_t>(i - first)] = 1;
                continue;
            }
            std::sort(kept.begin(), kept.end());
            for (int64_t j = 0; j < out.k; ++j) {
                out.index[i * out.k + j] = kept[static_cast<size_t>(j)].index;
                out.distance[i * out.k + j] = kept[static_cast<size_t>(j)].distance;
            }
        }
    });
    for (int64_t i = first; i < last; ++i)
        if (short_of[static_cast<size_t>(i - first)]) points_.search(i, i + 1, out);
}

double ApproximateSearch::recall(const Neighbours& found, int64_t sample) const {
    Neighbours exact = found;
    const int64_t step = std::max<int64_t>(1, found.rows / sample);
    int64_t hits = 0, asked = 0;
    for (int64_t i = 0; i < found.rows; i += step) {
        points_.search(i, i + 1, exact);
        const auto* mine = found.index.data() + i * found.k;
        const std::set<int32_t> held(mine, mine + found.k);
        for (int64_t j = 0; j < found.k; ++j) hits += held.contains(exact.index[i * found.k + j]) ? 1 : 0;
        asked += found.k;
    }
    return asked > 0 ? static_cast<double>(hits) / static_cast<double>(asked) : NAN;
}

}  // namespace savepoint
