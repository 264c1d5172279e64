#pragma once

#include <string>

#include "core/analysis/anomaly_choice.h"
#include "core/analysis/experiment_result.h"
#include "core/analysis/pruning_settings.h"

namespace savepoint::views {

// Names for people; command line and files have to_string's.
std::string display_name(PhiKind kind);
std::string display_name(StateForm form);
std::string display_name(DetectorKind kind);
std::string display_name(PruningKind kind);
std::string display_name(const Pruning& pruning);       // with its count
std::string display_name(const AnomalyChoice& choice);  // "elu + 1, read-out, Mahalanobis"
std::string display_name(const ExperimentRow& row);     // "state / elu + 1 / read-out / middle layer / Mahalanobis"

// What they are, for tooltips, with where the formulas come from.
const char* formula(PhiKind kind);
const char* formula(StateForm form);
const char* formula(DetectorKind kind);
const char* formula(PruningKind kind);

}  // namespace savepoint::views
