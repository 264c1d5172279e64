#pragma once

#include <memory>

#include "core/workbench/aside.h"
#include "core/workbench/commands.h"
#include "core/workbench/snapshot.h"
#include "core/workbench/task.h"

namespace savepoint {

struct Desk;

// One codec on a thought's own path. Long calls, so it runs on a thread of its own with a Transformer of its own
// (weights are shared). The path is run again from its token ids: edits on it are not part of what is tried.
class TryCodecTask : public Task {
   public:
    TryCodecTask(Desk& desk, const command::TryCodec& command);  // throws InputError
    Step step() override;
    double progress() const override { return aside_->progress(); }

   private:
    Desk& desk_;
    std::shared_ptr<CodecTrialView> view_ = std::make_shared<CodecTrialView>();
    std::unique_ptr<Aside> aside_;
};

}  // namespace savepoint
