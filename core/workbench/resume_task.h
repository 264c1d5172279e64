#pragma once

#include <memory>

#include "core/sidecar/evaluate.h"
#include "core/workbench/aside.h"
#include "core/workbench/commands.h"
#include "core/workbench/task.h"

namespace savepoint {

struct Desk;

// How far the model strays when it goes on from decoded states. One long call, so it runs on a thread of
// its own with a Transformer of its own (weights are shared).
class ResumeFidelityTask : public Task {
   public:
    ResumeFidelityTask(Desk& desk, const command::MeasureResume& command);  // throws InputError
    Step step() override;
    double progress() const override { return aside_->progress(); }

   private:
    Desk& desk_;
    ThoughtId thought_;
    std::shared_ptr<ResumeFidelity> result_ = std::make_shared<ResumeFidelity>();
    std::unique_ptr<Aside> aside_;
};

}  // namespace savepoint
