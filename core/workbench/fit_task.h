#pragma once

#include <memory>
#include <string>

#include "core/analysis/reference_fit.h"
#include "core/workbench/task.h"

namespace savepoint {

struct Desk;

// Where the fitted sidecar of a model is kept.
std::string fit_folder(const std::string& data_folder, const std::string& model_sha256);

struct StoredFit {
    std::string folder;
    ReferenceFit::Result fit;  // null pointers: none stored
    std::string problem;       // why a stored one could not be read
};
// Does not throw.
StoredFit read_stored_fit(const std::string& data_folder, const std::shared_ptr<const Weights>& weights);
// Takes it into use, or fits a new one in the background when there is none and the options say so.
void adopt_stored_fit(Desk& desk, StoredFit stored);

// Fits sidecar and references in short steps, then stores them. Until it is done nothing is written and
// what is in use stays in use.
class FitTask : public Task {
   public:
    FitTask(Desk& desk, FitSettings settings);
    Step step() override;
    void stop() override { show(Phase::absent); }
    void failed(const std::string& message) override { show(Phase::failed, message); }
    double progress() const override { return fit_.progress(); }
    std::string stage() const override { return fit_.stage(); }

   private:
    void show(Phase phase, const std::string& error = {});
    void adopt();

    Desk& desk_;
    ReferenceFit fit_;
};

}  // namespace savepoint
