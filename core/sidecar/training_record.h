#pragma once

#include <cmath>
#include <nlohmann/json.hpp>
#include <vector>

#include "core/sidecar/learned_settings.h"
#include "core/state/json_fields.h"

namespace savepoint {

// What the architecture implies is set; what contradicts it is refused: throws InputError.
TrainingSettings settled(TrainingSettings settings);

// As a codec's file and a checkpoint keep them.
nlohmann::json described(const TrainingSettings& settings);
nlohmann::json described(const TrainingPoint& point);
TrainingPoint training_point_from(const nlohmann::json& described);  // throws nlohmann::json::exception

// How far a training has come, beside what its networks are.
struct TrainingProgress {
    int64_t round = 0;  // rounds finished
    int64_t worse = 0;  // looks since the best
    double best_score = INFINITY;
    std::vector<TrainingPoint> curve;  // a point for each round
};
nlohmann::json described(const TrainingProgress& progress);
TrainingProgress training_progress_from(const nlohmann::json& described);  // throws nlohmann::json::exception

}  // namespace savepoint
