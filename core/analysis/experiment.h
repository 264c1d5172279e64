#pragma once

#include <memory>
#include <nlohmann/json.hpp>
#include <string>

#include "core/analysis/experiment_result.h"
#include "core/analysis/experiment_settings.h"
#include "core/analysis/phi.h"
#include "core/analysis/run_book.h"
#include "core/model/transformer.h"

namespace savepoint {

// Whether the linear-attention state tells anomalous texts from normal ones, and whether it does so better than the
// activations, the length or the log-probability alone. Detectors are fitted on normal training texts alone (relative
// Mahalanobis has plain text of the corpus as its background, contrastive the anomalous training texts as known-bad),
// columns in units of those texts' standard deviation; all figures are of test texts, which no fit has seen.
// A sequence of short steps for a worker: call step() until done(). Throws Error on data that leaves too little.
class Experiment {
   public:
    // `learned`: the hedgehog to use; null: one is fitted where it is asked for. `book`: runs shared with other
    // experiments of this model.
    Experiment(const Transformer& model, const Tokenizer& tokenizer, ExperimentSettings settings,
               std::shared_ptr<const Phi> learned = nullptr, std::shared_ptr<RunBook> book = nullptr);
    ~Experiment();
    void step();
    bool done() const;
    double progress() const;
    std::string stage() const;

    const ExperimentSettings& settings() const;
    const ExperimentResult& result() const;  // complete when done

   private:
    struct Impl;
    std::unique_ptr<Impl> impl_;
};

}  // namespace savepoint
