#pragma once

#include <chrono>
#include <memory>
#include <string>

#include "core/analysis/patch_map.h"
#include "core/workbench/causal_view.h"
#include "core/workbench/task.h"

namespace savepoint {

struct Desk;

// Patches one thought's activations into another's, cell by cell in batches, publishing the map as it fills. What was
// scored stays when it is cancelled.
class PatchTask : public Task {
   public:
    PatchTask(Desk& desk, PatchRequest request);  // throws InputError naming what is not there
    Step step() override;
    void stop() override { publish(CausalState::cancelled); }
    void failed(const std::string& message) override { publish(CausalState::failed, message); }
    double progress() const override { return map_ ? map_->progress() : 0; }
    std::string stage() const override { return map_ ? map_->stage() : "reading both runs"; }

   private:
    void choose_outcome(PatchRun& source, PatchRun& destination);
    void begin();
    void keep_known();
    void publish(CausalState state, const std::string& error = {});

    Desk& desk_;
    PatchRequest request_;
    Alignment alignment_;
    std::shared_ptr<const RunPairView> runs_;
    std::unique_ptr<Patching> patching_;
    std::unique_ptr<PatchMap> map_;
    std::vector<PatchScores> known_;  // of the same outcome, from the view before
    std::chrono::steady_clock::time_point started_ = std::chrono::steady_clock::now(), published_{};
};

}  // namespace savepoint
