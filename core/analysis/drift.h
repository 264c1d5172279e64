#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/analysis/drift_map.h"
#include "core/analysis/drift_scale.h"

namespace savepoint {

// Where two runs part: per aligned pair, layer and head. Short steps: one layer of one part each.
class Drift {
   public:
    // By the scale's phi. `sidecar`: for latents; null: without them. Throws InputError when rows are missing or the
    // scale is another's.
    Drift(const Transformer& model, const StateRun& a, const StateRun& b, Alignment alignment,
          std::shared_ptr<const DriftScale> scale, std::shared_ptr<const Sidecar> sidecar, DriftSettings settings);
    bool step();  // false: done
    double progress() const;
    std::string stage() const;

    const Alignment& alignment() const { return alignment_; }
    const DriftSettings& settings() const { return settings_; }
    const std::vector<DriftMap>& maps() const { return maps_; }  // finished ones

   private:
    void measure(DriftMap& map, int64_t row);

    Alignment alignment_;
    std::shared_ptr<const DriftScale> scale_;
    DriftSettings settings_;
    PartReader a_, b_;
    std::vector<int64_t> of_a_, of_b_;
    std::vector<DriftPart> left_;  // next one last
    std::vector<DriftMap> maps_;
    std::optional<DriftMap> current_;
    int64_t next_row_ = 0;
    size_t all_ = 0;
};

}  // namespace savepoint
