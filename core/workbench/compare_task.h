#pragma once

#include <memory>
#include <string>

#include "core/sidecar/rate_distortion.h"
#include "core/workbench/snapshot.h"
#include "core/workbench/task.h"

namespace savepoint {

struct Desk;

// Fits and judges codecs in the background, publishing each one's figures as they come. What was judged stays when it
// is cancelled; each fitted codec is stored in the data folder, beside the sidecar.
class CompareTask : public Task {
   public:
    CompareTask(Desk& desk, RateDistortionSettings settings);
    Step step() override;
    void stop() override { publish(Phase::absent); }
    void failed(const std::string& message) override { publish(Phase::failed, message); }
    double progress() const override { return job_.progress(); }
    std::string stage() const override { return job_.stage(); }

   private:
    void publish(Phase phase, const std::string& error = {});
    void store(const RateDistortion::Judged& one);

    Desk& desk_;
    RateDistortionSettings settings_;
    RateDistortion job_;
    std::string folder_;
    std::vector<CodecView> codecs_;
};

}  // namespace savepoint
