#pragma once

#include <ATen/core/Tensor.h>

#include <vector>

#include "core/analysis/experiment_result.h"
#include "core/analysis/experiment_settings.h"
#include "core/analysis/experiment_texts.h"
#include "core/analysis/knn.h"

namespace savepoint {

// [rows, columns] as detectors take it.
PointTable points_of(const at::Tensor& rows);

// Judges tables of features, a row a text: those of the experiment first, then `background` plain ones.
struct ExperimentJudge {
    std::vector<Part> part;
    std::vector<int> label;
    int64_t background = 0;

    bool is_reference(size_t i) const { return part[i] == Part::fit && label[i] == 0; }
    // Counts the parts into `result` and deals the test texts into halves. Throws InputError where too few are left.
    void prepare(ExperimentResult& result, const ExperimentSettings& settings);
    // Scores of the test texts -> a row with all its figures.
    void add(ExperimentResult& result, ExperimentRow row, std::vector<double> score) const;
    // features [texts + background, width]: every detector and the linear probe, each once more through
    // settings.equal_features components where there are more columns than that.
    void add_all(ExperimentResult& result, const ExperimentRow& row, const at::Tensor& features,
                 const ExperimentSettings& settings) const;

    // Less the mean of the normal training texts, in units of their standard deviation; columns that do not vary are 0.
    at::Tensor in_reference_units(const at::Tensor& features) const;

   private:
    struct Tables;
    void add_detectors(ExperimentResult& result, const ExperimentRow& row, const Tables& tables,
                       const ExperimentSettings& settings) const;

    std::vector<int> test_label_, half_;
    int bootstrap_ = 0;
    uint64_t seed_ = 1;
};

}  // namespace savepoint
