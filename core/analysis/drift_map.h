#pragma once

// Standard types only: views include this file.

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "core/analysis/alignment.h"
#include "core/analysis/phi_settings.h"

namespace savepoint {

// What two runs are compared by. hidden: resid_post; key (before rotary embedding), value: of each KV head;
// attention_state: S_t / n_t row by row (signed phi: S_t / t) of each KV head, keys before or after rotary embedding as
// phi's settings say; latent: z_t of each layer group.
enum class DriftPart { hidden, key, value, attention_state, latent };
inline constexpr std::array kDriftParts = {DriftPart::hidden, DriftPart::key, DriftPart::value,
                                           DriftPart::attention_state, DriftPart::latent};
std::string to_string(DriftPart part);  // "hidden", "key", "value", "attention_state", "latent"

struct DriftSettings {
    double band = 0.05;       // distances up to this share of an unrelated run's are noise
    PhiSettings phi;          // of attention_state
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

// The earliest pair of the same token, from position `first_token` of run a on, with a cell out of the band (the wider
// of `band` and the map's noise), and the lowest row there.
std::optional<DriftCell> first_drift(const DriftMap& map, const std::vector<AlignedPair>& pairs, double band,
                                     int64_t first_token);

}  // namespace savepoint
