#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/analysis/incremental_pca.h"
#include "core/analysis/point_table.h"
#include "core/analysis/umap.h"
#include "core/workbench/projection_view.h"

namespace savepoint {

// Columns of one layer (group) in a joined table.
struct MapPart {
    std::string label;
    int64_t columns = 0;
};

// One map of one table, fitted step by step: PCA, and if asked for UMAP, then clusters and how far it can be
// believed. Afterwards new rows are placed in it: by UMAP's transform, where all that stood stays; by PCA with axes
// that follow (IncrementalPca), where all points move with them, a little.
class MapFit {
   public:
    using GoOn = std::function<bool()>;
    // Throws InputError on values that are not finite, fewer than 3 rows, and settings that do not fit.
    MapFit(std::string label, PointTable table, std::vector<MapPart> parts, const ProjectionSettings& settings);

    bool step(const GoOn& go_on = {});  // whether there is more to do; Cancelled when go_on says no
    double progress() const;            // 0 .. 1
    bool has_places() const { return !places_.empty(); }
    ProjectionMap view() const;        // as far as it is
    void add(const PointTable& rows);  // needs has_places()

   private:
    enum class Stage { components, layout, clusters, quality, done };
    void scale(PointTable& rows) const;
    void fit_scaling();
    void fit_robust_scaling();
    void fit_components();
    void lay_out();
    void find_clusters(const GoOn& go_on);
    void measure(const GoOn& go_on);
    void place_by_pca(const PcaProjection& pca, const PointTable& rows);
    void take_layout(const PointTable& layout);
    PointTable flat_places() const;

    std::string label_;
    PointTable table_;  // scaled
    std::vector<MapPart> parts_;
    ProjectionSettings settings_;
    std::vector<float> shift_, factor_;  // [columns]
    int64_t fitted_ = 0;
    Stage stage_ = Stage::components;
    std::unique_ptr<Umap> umap_;
    std::optional<IncrementalPca> running_;
    std::vector<std::array<float, 3>> places_;
    ProjectionMap figures_;  // what does not change with the layout
    std::vector<int32_t> clusters_;
    PointTable centres_;  // of k-means
};

}  // namespace savepoint
