#pragma once

#include <nlohmann/json.hpp>

#include "core/sidecar/learned_settings.h"

namespace savepoint {

// What the architecture implies is set; what contradicts it is refused: throws InputError.
TrainingSettings settled(TrainingSettings settings);

// As a codec's file and a checkpoint keep them.
nlohmann::json described(const TrainingSettings& settings);
nlohmann::json described(const TrainingPoint& point);
TrainingPoint training_point_from(const nlohmann::json& described);  // throws nlohmann::json::exception

// null stands for what is not known.
nlohmann::json number_or_null(double value);
double number_or_nan(const nlohmann::json& value);

}  // namespace savepoint
