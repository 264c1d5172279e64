#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "core/analysis/experiment_result.h"
#include "core/analysis/experiment_settings.h"

namespace savepoint {

// The default choice, named before anything was measured: elu1's read-out at the middle layer, Mahalanobis distance.
int64_t default_row(const ExperimentResult& result);

// Rows worth naming: the default choice, the best state and activation by detectors and by probe, length and
// log-probability; those that there are.
struct NamedRow {
    std::string role;
    int64_t row;
    bool best;  // chosen on one half of the test texts: judged by auroc_judge
};
std::vector<NamedRow> named_rows(const ExperimentResult& result);

// Rows, counts, test texts, and `summary`: the default choice, the best state and the best activation chosen on one
// half of the test texts and judged on the other, both linear probes, length and log-probability.
nlohmann::json to_json(const ExperimentResult& result, const ExperimentSettings& settings, bool with_scores);
std::string to_csv(const ExperimentResult& result);  // a row a line
nlohmann::json to_json(const InjectionCurves& injection);
std::string to_csv(const InjectionCurves& injection);  // a position and source a line
// One file without anything from elsewhere: curves, a table that sorts by its columns, and the test texts of each
// choice by score.
std::string to_html(const ExperimentResult& result, const ExperimentSettings& settings);

// report.json, rows.csv, report.html and, where something was injected, injection.csv in `folder`, which is made.
// Throws FileError.
void write_report(const std::string& folder, const ExperimentResult& result, const ExperimentSettings& settings);

}  // namespace savepoint
