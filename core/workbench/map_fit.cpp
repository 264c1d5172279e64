#include "core/workbench/map_fit.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "core/analysis/hdbscan.h"
#include "core/analysis/kmeans.h"
#include "core/analysis/knn.h"
#include "core/analysis/projection.h"
#include "core/analysis/trustworthiness.h"
#include "core/model/error.h"

namespace savepoint {
namespace {

constexpr int64_t kComponents = 32;
constexpr double kExactOperations = 2e10;    // of a PCA; above it is randomised
constexpr double kQualityOperations = 3e10;  // so that measuring takes no longer than a second or two
constexpr int kEpochs = 5;                   // between two pictures
constexpr size_t kTopLoadings = 6;

at::Tensor tensor_of(const PointTable& table) {
    return at::from_blob(const_cast<float*>(table.values.data()), {table.rows, table.columns}, at::kFloat);
}

}  // namespace

MapFit::MapFit(std::string label, PointTable table, std::vector<MapPart> parts, const ProjectionSettings& settings)
    : label_(std::move(label)),
      table_(std::move(table)),
      parts_(std::move(parts)),
      settings_(settings),
      fitted_(table_.rows) {
    check_points(table_, "projection of " + label_);
    if (table_.rows < 3)
        throw InputError("projection: " + std::to_string(table_.rows) +
                         " points are too few; generate more tokens or choose more thoughts");
    fit_scaling();
    scale(table_);
    if (settings_.method == ProjectionMethod::umap) {
        UmapSettings umap = settings_.umap;
        umap.neighbors = static_cast<int>(std::min<int64_t>(umap.neighbors, table_.rows - 1));
        umap_ = std::make_unique<Umap>(table_, umap);
    }
    figures_.label = label_;
    figures_.columns = table_.columns;
    figures_.dimensions = settings_.umap.components;
    for (const MapPart& part : parts_) figures_.parts.push_back(part.label);
}

// Median and interquartile range by linear interpolation between order statistics, as numpy's percentile; 1.349 makes
// the range of a normal distribution its standard deviation.
void MapFit::fit_robust_scaling() {
    std::vector<float> column(static_cast<size_t>(table_.rows));
    const auto quantile = [&](double q) {
        const double at = q * static_cast<double>(column.size() - 1);
        const auto low = column.begin() + static_cast<ptrdiff_t>(at);
        std::nth_element(column.begin(), low, column.end());
        const float next = low + 1 == column.end() ? *low : *std::min_element(low + 1, column.end());
        return *low + (at - std::floor(at)) * (next - *low);
    };
    for (int64_t c = 0; c < table_.columns; ++c) {
        for (int64_t i = 0; i < table_.rows; ++i) column[static_cast<size_t>(i)] = table_.row(i)[c];
        const double range = quantile(0.75) - quantile(0.25);
        shift_[static_cast<size_t>(c)] = static_cast<float>(quantile(0.5));
        factor_[static_cast<size_t>(c)] = range > 1e-10 ? static_cast<float>(1.349 / range) : 0.0f;
    }
}

void MapFit::fit_scaling() {
    const auto columns = static_cast<size_t>(table_.columns);
    shift_.assign(columns, 0.0f), factor_.assign(columns, 1.0f);
    if (settings_.scaling == ProjectionScaling::none) return;
    if (settings_.scaling == ProjectionScaling::robust) return fit_robust_scaling();
    std::vector<double> sum(columns, 0), squares(columns, 0);
    for (int64_t i = 0; i < table_.rows; ++i)
        for (size_t c = 0; c < columns; ++c) sum[c] += table_.row(i)[c];
    for (int64_t i = 0; i < table_.rows; ++i)
        for (size_t c = 0; c < columns; ++c) {
            const double apart = table_.row(i)[c] - sum[c] / static_cast<double>(table_.rows);
            squares[c] += apart * apart;
        }
    size_t first = 0;
    for (const MapPart& part : parts_) {
        const auto width = static_cast<size_t>(part.columns);
        const double whole = std::accumulate(squares.begin() + first, squares.begin() + first + width, 0.0);
        for (size_t c = first; c < first + width; ++c) {
            const bool each = settings_.scaling == ProjectionScaling::columns;
            const double variance = (each ? squares[c] : whole) / static_cast<double>(table_.rows);
            shift_[c] = static_cast<float>(sum[c] / static_cast<double>(table_.rows));
            factor_[c] = variance > 1e-20 ? static_cast<float>(1 / std::sqrt(variance)) : 0.0f;
        }
        first += width;
    }
}

void MapFit::scale(PointTable& rows) const {
    for (int64_t i = 0; i < rows.rows; ++i)
        for (int64_t c = 0; c < rows.columns; ++c) rows.row(i)[c] = (rows.row(i)[c] - shift_[c]) * factor_[c];
}

bool MapFit::step(const GoOn& go_on) {
    switch (stage_) {
        case Stage::components:
            fit_components();
            stage_ = umap_ ? Stage::layout : Stage::clusters;
            break;
        case Stage::layout:
            lay_out();
            break;
        case Stage::clusters:
            find_clusters(go_on);
            stage_ = Stage::quality;
            break;
        case Stage::quality:
            measure(go_on);
            stage_ = Stage::done;
            break;
        case Stage::done:
            break;
    }
    return stage_ != Stage::done;
}

double MapFit::progress() const {
    switch (stage_) {
        case Stage::components:
            return 0;
        case Stage::layout:
            return 0.05 + 0.85 * umap_->progress();
        case Stage::clusters:
            return 0.92;
        case Stage::quality:
            return 0.95;
        case Stage::done:
            break;
    }
    return 1;
}

void MapFit::fit_components() {
    const at::Tensor rows = tensor_of(table_);
    const int64_t narrow = std::min(table_.rows, table_.columns), kept = std::min(narrow, kComponents);
    const double work =
        static_cast<double>(table_.rows) * static_cast<double>(table_.columns) * static_cast<double>(narrow);
    figures_.randomized = work > kExactOperations;
    const PcaProjection pca =
        figures_.randomized ? fit_pca_randomized(rows, kept, {.seed = settings_.umap.seed}) : fit_pca(rows, kept);
    const auto* explained = pca.explained.data_ptr<float>();
    const auto* axes = pca.axes.data_ptr<float>();
    for (int64_t k = 0; k < kept && explained[k] > 0; ++k) {
        ProjectionComponent one;
        one.explained = explained[k];
        const float* axis = axes + k * table_.columns;
        std::vector<std::pair<float, int64_t>> strongest;
        for (int64_t c = 0; c < table_.columns; ++c) strongest.emplace_back(std::fabs(axis[c]), c);
        const size_t top = std::min(kTopLoadings, strongest.size());
        std::partial_sort(strongest.begin(), strongest.begin() + static_cast<ptrdiff_t>(top), strongest.end(),
                          std::greater<>());
        int64_t first = 0;
        for (const MapPart& part : parts_) {
            double share = 0;
            for (int64_t c = first; c < first + part.columns; ++c) share += static_cast<double>(axis[c]) * axis[c];
            one.share.push_back(static_cast<float>(share));
            first += part.columns;
        }
        for (size_t i = 0; i < top; ++i) {
            int64_t column = strongest[i].second;
            size_t part = 0;
            while (column >= parts_[part].columns) column -= parts_[part++].columns;
            one.top.emplace_back(parts_[part].label + " #" + std::to_string(column), axis[strongest[i].second]);
        }
        figures_.components.push_back(std::move(one));
    }
    if (umap_) return;
    const double total = (rows - pca.mean).to(at::kDouble).square().sum().item<double>();
    running_.emplace(pca, table_.rows, total);
    place_by_pca(pca, table_);
}

void MapFit::place_by_pca(const PcaProjection& pca, const PointTable& rows) {
    PcaProjection shown = pca;
    shown.axes = pca.axes.slice(0, 0, std::min<int64_t>(3, pca.axes.size(0)));
    const at::Tensor placed = shown.project(tensor_of(rows)).contiguous();
    PointTable layout{placed.size(0), placed.size(1), {}};
    layout.values.assign(placed.data_ptr<float>(), placed.data_ptr<float>() + placed.numel());
    take_layout(layout);
}

void MapFit::take_layout(const PointTable& layout) {
    places_.assign(static_cast<size_t>(layout.rows), {});
    for (int64_t i = 0; i < layout.rows; ++i)
        std::copy_n(layout.row(i), std::min<int64_t>(3, layout.columns), places_[i].begin());
}

void MapFit::lay_out() {
    const bool more = umap_->step(kEpochs);
    figures_.neighbour_recall = umap_->recall();
    if (umap_->has_layout()) take_layout(umap_->layout());
    if (!more) stage_ = Stage::clusters;
}

PointTable MapFit::flat_places() const {
    const int64_t columns = settings_.umap.components;
    PointTable table{static_cast<int64_t>(places_.size()), columns, {}};
    for (const auto& place : places_) table.values.insert(table.values.end(), place.begin(), place.begin() + columns);
    return table;
}

void MapFit::find_clusters(const GoOn& go_on) {
    if (settings_.clusters == ClusterMethod::kmeans) {
        KMeansSettings how;
        how.clusters = static_cast<int>(std::clamp<int64_t>(settings_.cluster_count, 1, table_.rows));
        how.seed = settings_.umap.seed;
        KMeans found = kmeans(table_, how, go_on);
        clusters_ = std::move(found.label), centres_ = std::move(found.centres);
        figures_.cluster_count = how.clusters;
    } else if (settings_.clusters == ClusterMethod::hdbscan) {
        const auto smallest = static_cast<int>(std::clamp<int64_t>(settings_.cluster_smallest, 2, table_.rows));
        Hdbscan found = hdbscan(flat_places(), {smallest}, go_on);
        clusters_ = std::move(found.label);
        figures_.cluster_count = found.clusters;
    }
}

void MapFit::measure(const GoOn& go_on) {
    QualityOptions options;
    options.neighbors = static_cast<int>(std::min<int64_t>(settings_.quality_neighbors, (table_.rows - 1) / 2));
    if (options.neighbors < 1) return;
    options.metric = settings_.method == ProjectionMethod::umap ? settings_.umap.metric : PointMetric::euclidean;
    const double each = 2.0 * static_cast<double>(table_.rows) * static_cast<double>(table_.columns + 8);
    options.most_rows = std::clamp<int64_t>(static_cast<int64_t>(kQualityOperations / each), 500, table_.rows);
    if (go_on) options.go_on = [&](double) { return go_on(); };
    const ProjectionQuality quality = projection_quality(table_, flat_places(), options);
    figures_.trustworthiness = quality.trustworthiness;
    figures_.continuity = quality.continuity;
    figures_.quality_neighbors = quality.neighbors;
    figures_.quality_rows = quality.rows_asked;
}

ProjectionMap MapFit::view() const {
    ProjectionMap view = figures_;
    view.progress = progress();
    view.stage = stage_ == Stage::components ? "finding components"
                 : stage_ == Stage::layout   ? umap_->stage()
                 : stage_ == Stage::clusters ? "finding clusters"
                 : stage_ == Stage::quality  ? "measuring how far the map can be trusted"
                                             : "";
    if (has_places()) view.places = std::make_shared<const std::vector<std::array<float, 3>>>(places_);
    if (!clusters_.empty()) view.clusters = std::make_shared<const std::vector<int32_t>>(clusters_);
    return view;
}

void MapFit::add(const PointTable& given) {
    PointTable rows = given;
    scale(rows);
    check_points(rows, "projection of " + label_);
    if (umap_) {
        const PointTable placed = umap_->transform(rows);
        for (int64_t i = 0; i < placed.rows; ++i) {
            places_.push_back({});
            std::copy_n(placed.row(i), placed.columns, places_.back().begin());
        }
    } else {
        table_.values.insert(table_.values.end(), rows.values.begin(), rows.values.end());
        table_.rows += rows.rows;
        running_->add(tensor_of(rows));
        const PcaProjection pca = running_->projection(static_cast<int64_t>(figures_.components.size()));
        for (size_t k = 0; k < figures_.components.size(); ++k)
            figures_.components[k].explained = pca.explained[static_cast<int64_t>(k)].item<float>();
        place_by_pca(pca, table_);
    }
    if (clusters_.empty()) return;
    for (int64_t i = 0; i < rows.rows; ++i) {
        int32_t nearest = -1;
        double least = std::numeric_limits<double>::max();
        for (int64_t k = 0; k < centres_.rows; ++k) {
            double squared = 0;
            for (int64_t c = 0; c < rows.columns; ++c) squared += std::pow(rows.row(i)[c] - centres_.row(k)[c], 2);
            if (squared < least) least = squared, nearest = static_cast<int32_t>(k);
        }
        clusters_.push_back(nearest);
    }
}

}  // namespace savepoint
