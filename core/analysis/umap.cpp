#include "core/analysis/umap.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <string>
#include <utility>

#include "core/analysis/map_kernels.h"
#include "core/analysis/start_layout.h"
#include "core/model/device.h"
#include "core/model/error.h"
#include "core/model/parallel.h"
#include "core/model/thread_team.h"

namespace savepoint {

namespace {

constexpr int64_t kChunk = 128;           // points that a thread takes at a time
constexpr double kStepOperations = 1e10;  // of a step of the search: about 0.1 s
// From about here on HNSW should be the faster one, as far as 20,000 points tell (bench_umap_bench neighbours).
constexpr int64_t kApproximateRows = 60000;
constexpr double kDistances = 1500;  // that putting a point in, or searching for it, takes, about
constexpr int kTransformEpochs = 100;

void require(bool holds, const std::string& problem) {
    if (!holds) throw InputError("UMAP: " + problem);
}

void check_settings(const UmapSettings& s, int64_t rows) {
    require(s.neighbors >= 2, "n_neighbors must be at least 2");
    require(s.neighbors < rows, "n_neighbors is " + std::to_string(s.neighbors) + ", but there are only " +
                                    std::to_string(rows) + " points; ask for fewer neighbours");
    require(s.components == 2 || s.components == 3, "components must be 2 or 3");
    require(s.spread > 0 && std::isfinite(s.spread), "spread must be positive");
    require(s.min_dist >= 0 && s.min_dist <= s.spread, "min_dist must be between 0 and spread");
    require(s.epochs >= 0, "epochs must not be negative");
    require(s.negatives >= 1 && s.negatives <= map_negatives, "negative samples must be 1 to 32");
    require(s.learning_rate > 0 && std::isfinite(s.learning_rate), "the learning rate must be positive");
    require(s.repulsion >= 0 && std::isfinite(s.repulsion), "repulsion must not be negative");
}

int64_t stride_of(const UmapSettings& settings) { return settings.components == 2 ? 2 : 4; }

// [rows, components] as the kernels want them, and back.
std::vector<float> spread_out(const std::vector<float>& table, int64_t components, int64_t stride) {
    std::vector<float> places(table.size() / components * stride, 0.0f);
    for (size_t i = 0; i < table.size(); ++i) places[i / components * stride + i % components] = table[i];
    return places;
}

PointTable close_up(const std::vector<float>& places, int64_t components, int64_t stride) {
    PointTable table{static_cast<int64_t>(places.size()) / stride, components, {}};
    for (int64_t i = 0; i < table.rows; ++i)
        table.values.insert(table.values.end(), &places[i * stride], &places[i * stride] + components);
    return table;
}

// Edges that would not be drawn once in all epochs are left out.
void drop_weak_edges(SparseGraph& graph, int epochs) {
    const float least = *std::max_element(graph.weight.begin(), graph.weight.end()) / static_cast<float>(epochs);
    int64_t kept = 0, e = 0;
    for (int64_t i = 0; i < graph.rows(); ++i) {
        for (; e < graph.row_begin[i + 1]; ++e) {
            if (graph.weight[e] < least) continue;
            graph.weight[kept] = graph.weight[e];
            graph.column[kept++] = graph.column[e];
        }
        graph.row_begin[i + 1] = kept;
    }
    graph.weight.resize(kept);
    graph.column.resize(kept);
}

void move_points(const UmapSettings& settings, const LayoutPass& pass, int64_t first, int64_t last) {
    const MapKernels& kernels = map_kernels();
    (settings.components == 2 ? kernels.move_points_2d : kernels.move_points_3d)(pass, first, last);
}

// FNV-1a of a row's bits: random numbers that belong to the point, wherever it stands in a table.
uint64_t key_of(const float* row, int64_t columns) {
    uint64_t hash = 0xcbf29ce484222325u;
    const auto* bytes = reinterpret_cast<const unsigned char*>(row);
    for (size_t i = 0; i < static_cast<size_t>(columns) * sizeof(float); ++i) hash = (hash ^ bytes[i]) * 0x100000001b3u;
    return hash;
}

}  // namespace

Umap::Umap(const PointTable& points, const UmapSettings& settings)
    : settings_(settings), curve_{1, 1}, epochs_(settings.epochs) {
    check_points(points, "UMAP");
    check_settings(settings, points.rows);
    curve_ = fit_curve(settings.min_dist, settings.spread);
    if (epochs_ == 0) epochs_ = points.rows <= 10000 ? 500 : 200;
    search_ = std::make_shared<PointSearch>(points, settings.metric);
    const bool approximate = settings.search == NeighbourSearch::approximate ||
                             (settings.search == NeighbourSearch::automatic && points.rows >= kApproximateRows);
    if (approximate) {
        ApproximateSearch::Options options;
        options.seed = settings.seed;
        options.reproducible = settings.reproducible;
        near_ = std::make_shared<ApproximateSearch>(*search_, options);
    }
    const auto k = static_cast<int64_t>(settings.neighbors) - 1;
    neighbours_ = {points.rows, k, std::vector<int32_t>(points.rows * k), std::vector<float>(points.rows * k)};
}

bool Umap::step(int epochs) {
    switch (stage_) {
        case Stage::neighbours:
            find_neighbours();
            break;
        case Stage::graph:
            make_graph();
            break;
        case Stage::start:
            place_points();
            break;
        case Stage::layout:
            run_epochs(std::max(epochs, 1));
            break;
        case Stage::done:
            break;
    }
    return !done();
}

const char* Umap::stage() const {
    switch (stage_) {
        case Stage::neighbours:
            return "finding neighbours";
        case Stage::graph:
            return "joining neighbourhoods";
        case Stage::start:
            return "placing points";
        case Stage::layout:
            return "laying out";
        case Stage::done:
            break;
    }
    return "";
}

// Searching costs rows^2 columns, an epoch rows: what share each has depends on the size.
double Umap::progress() const {
    const auto rows = static_cast<double>(neighbours_.rows);
    const auto columns = static_cast<double>(search_->prepared_columns());
    const double search = near_ ? 2 * rows * kDistances * columns / 5e9 : rows * rows * columns / 5e10;
    const double layout = rows * epochs_ / 5e6, start = rows * 2e-5;
    const double found =
        near_ ? static_cast<double>(near_->inserted() + searched_) / 2 : static_cast<double>(searched_);
    const double spent = search * found / rows + (stage_ >= Stage::layout ? start : 0.0) + layout * epoch_ / epochs_;
    return done() ? 1.0 : std::min(spent / (search + start + layout), 1.0);
}

void Umap::find_neighbours() {
    if (near_) {
        const double each = kDistances * static_cast<double>(search_->prepared_columns());
        const auto some = std::max<int64_t>(256, static_cast<int64_t>(kStepOperations / 20 / each));
        if (near_->inserted() < neighbours_.rows) return near_->insert(some);
        const int64_t last = std::min(neighbours_.rows, searched_ + some);
        near_->search(searched_, last, neighbours_);
        searched_ = last;
        if (last < neighbours_.rows) return;
        recall_ = near_->recall(neighbours_);
        stage_ = Stage::graph;
        return;
    }
    const double each = static_cast<double>(neighbours_.rows) * static_cast<double>(search_->prepared_columns());
    const auto wanted = static_cast<int64_t>(kStepOperations / each);
    const int64_t last = std::min(neighbours_.rows, searched_ + std::max<int64_t>(wanted, 96));
    search_->search(searched_, last, neighbours_);
    searched_ = last;
    if (last == neighbours_.rows) stage_ = Stage::graph;
}

void Umap::make_graph() {
    graph_ =
        fuzzy_union(neighbours_, memberships(neighbours_, smooth_distances(neighbours_, settings_.neighbors, true)));
    drop_weak_edges(graph_, epochs_);
    rate_ = graph_.weight;
    const float largest = *std::max_element(rate_.begin(), rate_.end());
    for (float& rate : rate_) rate /= largest;
    stage_ = Stage::start;
}

void Umap::place_points() {
    const auto start = start_layout(*search_, graph_, settings_.start, settings_.components, settings_.seed);
    places_ = spread_out(start, settings_.components, stride_of(settings_));
    next_ = places_;
    stage_ = Stage::layout;
}

LayoutPass Umap::common_pass() const {
    LayoutPass pass{};
    pass.others = places_.data();
    pass.other_count = neighbours_.rows;
    pass.a = static_cast<float>(curve_.a);
    pass.b = static_cast<float>(curve_.b);
    pass.repulsion = settings_.repulsion;
    pass.negatives = settings_.negatives;
    pass.seed = settings_.seed;
    return pass;
}

// Moves every point by the edges that are due, reading `places_`: in place and both ends of an edge, or, reproducibly,
// every point for itself into `next_`.
void Umap::sweep(ThreadTeam& team, LayoutPass pass) {
    pass.others = pass.from = places_.data();
    pass.to = settings_.reproducible ? next_.data() : places_.data();
    pass.moving_others = settings_.reproducible ? nullptr : places_.data();
    std::atomic<int64_t> next{0};
    team.run([&](int) {
        for (int64_t at = next.fetch_add(kChunk); at < neighbours_.rows; at = next.fetch_add(kChunk))
            move_points(settings_, pass, at, std::min(at + kChunk, neighbours_.rows));
    });
    if (settings_.reproducible) places_.swap(next_);
}

void Umap::run_epochs(int epochs) {
    ThreadTeam team(threads());
    for (int i = 0; i < epochs && epoch_ < epochs_; ++i, ++epoch_) {
        LayoutPass pass = common_pass();
        pass.heads_are_others = true;
        pass.row_begin = graph_.row_begin.data();
        pass.neighbour = graph_.column.data();
        pass.rate = rate_.data();
        pass.epoch = epoch_;
        pass.step = settings_.learning_rate * (1 - static_cast<float>(epoch_) / static_cast<float>(epochs_));
        sweep(team, pass);
        if (!settings_.reproducible) continue;
        // An edge moves both its ends when either of its rows is drawn: here each end moves itself, twice.
        // In one sweep of double strength, two points would jump past each other.
        pass.negatives = 0;
        sweep(team, pass);
    }
    if (epoch_ == epochs_) stage_ = Stage::done;
}

PointTable Umap::layout() const { return close_up(places_, settings_.components, stride_of(settings_)); }

// -- new points -------------------------------------------------------------------------------------------------

namespace {

// New points, their edges to the map, and where they start.
struct Newcomers {
    std::vector<int64_t> row_begin;
    std::vector<float> rate, places;
    std::vector<uint64_t> keys;
};

void place_at_neighbours(const Neighbours& near, const std::vector<float>& weight, const std::vector<float>& map,
                         int64_t stride, Newcomers& out) {
    out.places.assign(static_cast<size_t>(near.rows * stride), 0.0f);
    for (int64_t i = 0; i < near.rows; ++i) {
        std::vector<double> sum(static_cast<size_t>(stride), 0.0);
        double total = 0;
        for (int64_t e = i * near.k; e < (i + 1) * near.k; ++e) {
            total += weight[e];
            for (int64_t c = 0; c < stride; ++c)
                sum[c] += static_cast<double>(weight[e]) * map[near.index[e] * stride + c];
        }
        for (int64_t c = 0; c < stride; ++c) out.places[i * stride + c] = static_cast<float>(sum[c] / total);
    }
}

Newcomers newcomers(const PointTable& points, const Neighbours& near, const std::vector<float>& map, int64_t stride) {
    Newcomers out;
    out.rate = memberships(near, smooth_distances(near, static_cast<double>(near.k), false));
    place_at_neighbours(near, out.rate, map, stride, out);
    for (int64_t i = 0; i < near.rows; ++i) {
        out.row_begin.push_back(i * near.k);
        out.keys.push_back(key_of(points.row(i), points.columns));
        const auto row = out.rate.begin() + i * near.k;
        const float largest = *row;  // the nearest
        for (int64_t e = 0; e < near.k; ++e) row[e] /= largest;
    }
    out.row_begin.push_back(near.rows * near.k);
    return out;
}

}  // namespace

PointTable Umap::transform(const PointTable& points) const {
    require(has_layout(), "there is no layout yet to place new points in; run the map first");
    const int64_t stride = stride_of(settings_);
    const Neighbours near = search_->search(points, settings_.neighbors);
    Newcomers added = newcomers(points, near, places_, stride);
    const int epochs = settings_.epochs == 0 ? kTransformEpochs : std::max(settings_.epochs / 3, 1);
    parallel_tasks((points.rows + kChunk - 1) / kChunk, [&](int64_t task) {
        LayoutPass pass = common_pass();
        pass.from = pass.to = added.places.data();
        pass.row_begin = added.row_begin.data();
        pass.neighbour = near.index.data();
        pass.rate = added.rate.data();
        pass.keys = added.keys.data();
        for (pass.epoch = 0; pass.epoch < epochs; ++pass.epoch) {
            const float left = 1 - static_cast<float>(pass.epoch) / static_cast<float>(epochs);
            pass.step = settings_.learning_rate / 4 * left;
            move_points(settings_, pass, task * kChunk, std::min((task + 1) * kChunk, points.rows));
        }
    });
    return close_up(added.places, settings_.components, stride);
}

}  // namespace savepoint
