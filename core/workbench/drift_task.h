#pragma once

#include <memory>
#include <string>

#include "core/analysis/drift.h"
#include "core/workbench/causal_view.h"
#include "core/workbench/task.h"

namespace savepoint {

struct Desk;

// Compares the paths of two thoughts part by part, publishing each part's map as it is done. The first comparison
// measures how far apart unrelated texts are; that is kept.
class DriftTask : public Task {
   public:
    DriftTask(Desk& desk, ThoughtId a, ThoughtId b, DriftSettings settings);  // throws InputError, as phi_for does
    Step step() override;
    void stop() override { publish(CausalState::cancelled); }
    void failed(const std::string& message) override { publish(CausalState::failed, message); }
    double progress() const override;
    std::string stage() const override;

   private:
    bool known_scale() const;
    void publish(CausalState state, const std::string& error = {});

    Desk& desk_;
    ThoughtId a_, b_;
    DriftSettings settings_;
    Alignment alignment_;
    std::shared_ptr<const RunPairView> runs_;
    std::shared_ptr<const Sidecar> sidecar_;
    std::shared_ptr<const Phi> phi_;
    std::unique_ptr<DriftScaleFit> fit_;
    std::unique_ptr<Drift> drift_;
    std::vector<std::shared_ptr<const DriftMap>> maps_;
};

}  // namespace savepoint
