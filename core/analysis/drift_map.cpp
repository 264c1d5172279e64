#include "core/analysis/drift_map.h"

#include <algorithm>

namespace savepoint {

std::string to_string(DriftPart part) {
    switch (part) {
        case DriftPart::hidden:
            return "hidden";
        case DriftPart::key:
            return "key";
        case DriftPart::value:
            return "value";
        case DriftPart::attention_state:
            return "attention_state";
        default:
            return "latent";
    }
}

std::optional<DriftCell> first_drift(const DriftMap& map, const std::vector<AlignedPair>& pairs, double band,
                                     int64_t first_token) {
    const auto cells = static_cast<size_t>(map.rows * map.heads);
    const float limit = std::max(map.noise, static_cast<float>(band));
    for (size_t pair = 0; pair < pairs.size(); ++pair) {
        if (!pairs[pair].same || pairs[pair].a < first_token) continue;
        for (size_t cell = 0; cell < cells; ++cell) {
            const float distance = map.distance[pair * cells + cell];
            if (distance > limit)
                return DriftCell{static_cast<int64_t>(pair), static_cast<int64_t>(cell) / map.heads,
                                 static_cast<int64_t>(cell) % map.heads, distance, limit};
        }
    }
    return {};
}

}  // namespace savepoint
