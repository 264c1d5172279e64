#pragma once

#include <nlohmann/json.hpp>

#include "core/sidecar/learned_settings.h"
#include "core/state/json_fields.h"

namespace savepoint {

// What the architecture implies is set; what contradicts it is refused: throws InputError.
TrainingSettings settled(TrainingSettings settings);

// As a codec's file and a checkpoint keep them.
nlohmann::json described(const TrainingSettings& settings);
nlohmann::json described(const TrainingPoint& point);
TrainingPoint training_point_from(const nlohmann::json& described);  // throws nlohmann::json::exception

}  // namespace savepoint
