#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/analysis/drift_scale.h"

namespace savepoint {

struct DriftSettings {
    double band = 0.05;  // distances up to this share of an unrelated run's are noise
    FeatureMap map = FeatureMap::elu1;
    int64_t first_token = 0;  // of the pairs (position in run a) from which the first drift is looked for
};

// Numerical noise is multiplied by this before it widens the band: one text does not show all of it.
inline constexpr double kDriftNoiseFactor = 4;

struct DriftCell {
    int64_t pair = 0, row = 0, head = 0;
    float distance = 0, band = 0;
};

// Distances of one part: 0 is the same, 1 as far apart as unrelated texts are.
struct DriftMap {
    DriftPart part = DriftPart::hidden;
    int64_t rows = 0, heads = 0;     // layers or layer groups; KV heads or 1
    std::vector<float> distance;     // [pairs, rows, heads]
    float noise = 0;                 // kDriftNoiseFactor times the numerical noise of the part: the narrowest band
    std::optional<DriftCell> first;  // earliest pair of the same token with a cell out of its band; its lowest row
};

// Where two runs part: per aligned pair, layer and head. Short steps: one layer of one part each.
class Drift {
   public:
    // `sidecar`: for latents; null: without them. Throws InputError when rows are missing or the scale is another's.
    Drift(const StateRun& a, const StateRun& b, Alignment alignment, std::shared_ptr<const DriftScale> scale,
          std::shared_ptr<const Sidecar> sidecar, DriftSettings settings);
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

// The earliest pair of the same token, from position `first_token` of run a on, with a cell out of the band (the wider
// of `band` and the map's noise), and the lowest row there.
std::optional<DriftCell> first_drift(const DriftMap& map, const std::vector<AlignedPair>& pairs, double band,
                                     int64_t first_token);

}  // namespace savepoint
