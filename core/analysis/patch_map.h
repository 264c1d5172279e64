#pragma once

#include <cstdint>
#include <deque>
#include <optional>
#include <string>
#include <vector>

#include "core/analysis/patching.h"

namespace savepoint {

// The source's most likely token, and the one that the destination prefers to the source by most probability.
PatchTarget default_target(const at::Tensor& source_logits, const at::Tensor& destination_logits);

PatchScore patch_score(const at::Tensor& source_logits, const at::Tensor& logits, const PatchTarget& target);

// Every cell patched by itself, in batches of cells of one layer; a step is one batch. Cells in which the runs do not
// differ are not run: they leave the destination as it is.
class PatchMap {
   public:
    PatchMap(const Patching& patching, PatchSettings settings, PatchTarget target);
    bool step();  // false: done
    double progress() const;
    std::string stage() const;

    const std::vector<PatchScores>& maps() const { return maps_; }
    const PatchTarget& target() const { return target_; }
    PatchScore source() const { return source_; }            // its own outcome; kl is 0
    PatchScore destination() const { return destination_; }  // unpatched
    int64_t cells_run() const { return cells_run_; }

   private:
    struct Job {
        size_t map;
        std::vector<PatchCell> cells;
        std::vector<int64_t> at;  // of the scores, for each cell
        int64_t cost;
    };
    void add_map(PatchSite site, int64_t head_layer, int64_t rows, int64_t columns);
    void plan(size_t map);
    void plan_layer(size_t map, int64_t layer);
    void add(size_t map, PatchCell cell, int64_t row, int64_t column);

    const Patching& patching_;
    PatchSettings settings_;
    PatchTarget target_;
    PatchScore source_, destination_;
    std::vector<PatchScores> maps_;
    std::deque<Job> jobs_;
    std::optional<Job> open_;  // being filled
    int64_t layers_, heads_, cost_all_ = 0, cost_done_ = 0, cells_run_ = 0;
};

}  // namespace savepoint
