#pragma once

#include <chrono>
#include <string>

#include "core/analysis/choice_fit.h"
#include "core/workbench/reference_view.h"
#include "core/workbench/task.h"

namespace savepoint {

struct Desk;

// Fits the anomaly reference of a choice on the text of the sidecar in use, stores it beside the sidecar and takes it
// into use. Cancelled, it leaves nothing but a phi that it has learned by then.
class ReferenceTask : public Task {
   public:
    ReferenceTask(Desk& desk, const AnomalyChoice& choice);  // throws InputError without sidecar
    Step step() override;
    void stop() override { show(ReferenceView::State::absent); }
    void failed(const std::string& message) override { show(ReferenceView::State::failed, message); }
    double progress() const override { return fit_.progress(); }
    std::string stage() const override { return fit_.stage(); }

   private:
    void show(ReferenceView::State state, const std::string& error = {});

    Desk& desk_;
    AnomalyChoice choice_;
    std::string sidecar_hash_;
    ChoiceFit fit_;
    std::chrono::steady_clock::time_point published_{};
};

}  // namespace savepoint
