#pragma once

#include <chrono>
#include <memory>
#include <string>

#include "core/analysis/phi_ranking.h"
#include "core/workbench/phi_ranking_view.h"
#include "core/workbench/task.h"

namespace savepoint {

struct Desk;

// Ranks feature maps in the background. What was compared stays when it is cancelled. A learned phi is kept beside the
// sidecar, as keep_learned_phi says.
class PhiRankingTask : public Task {
   public:
    PhiRankingTask(Desk& desk, const PhiRankingSettings& settings);  // throws as PhiRanking
    Step step() override;
    void stop() override { publish(Phase::absent); }
    void failed(const std::string& message) override { publish(Phase::failed, message); }
    double progress() const override { return ranking_.progress(); }
    std::string stage() const override { return ranking_.stage(); }

   private:
    void publish(Phase phase, const std::string& error = {});

    Desk& desk_;
    PhiRanking ranking_;
    std::chrono::steady_clock::time_point published_{};
};

}  // namespace savepoint
