#pragma once

#include <memory>
#include <string>

#include "core/analysis/experiment.h"
#include "core/workbench/commands.h"
#include "core/workbench/experiment_view.h"
#include "core/workbench/task.h"

namespace savepoint {

struct Desk;

// Runs an experiment in the background, publishing its rows as they come. What was judged stays when it is cancelled.
class ExperimentTask : public Task {
   public:
    ExperimentTask(Desk& desk, const command::RunExperiment& asked);
    Step step() override;
    void stop() override { publish(Phase::absent); }
    void failed(const std::string& message) override { publish(Phase::failed, message); }
    double progress() const override { return job_->progress(); }
    std::string stage() const override { return job_->stage(); }

   private:
    void publish(Phase phase, const std::string& error = {});

    Desk& desk_;
    std::unique_ptr<Experiment> job_;
    std::shared_ptr<const ExperimentResult> shown_;  // copied when rows came
};

}  // namespace savepoint
