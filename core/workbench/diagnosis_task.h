#pragma once

#include <memory>
#include <string>

#include "core/analysis/collapse.h"
#include "core/workbench/lens_view.h"
#include "core/workbench/task.h"

namespace savepoint {

struct Desk;

// Looks for signs of collapse, one text a step, publishing the figures of those that are done.
class DiagnosisTask : public Task {
   public:
    DiagnosisTask(Desk& desk, CollapseSettings settings);  // throws InputError without a sidecar to diagnose
    Step step() override;
    void stop() override { publish(CausalState::cancelled); }
    void failed(const std::string& message) override { publish(CausalState::failed, message); }
    double progress() const override { return run_ ? run_->progress() : 0; }
    std::string stage() const override { return run_ ? "texts" : "choosing texts"; }

   private:
    void publish(CausalState state, const std::string& error = {});

    Desk& desk_;
    CollapseSettings settings_;
    std::unique_ptr<CollapseRun> run_;
};

// What every head of a token looks at, from rows in memory; throws InputError when they are not.
std::shared_ptr<const AttentionView> attention_view(const Desk& desk, const TokenRef& token);

}  // namespace savepoint
