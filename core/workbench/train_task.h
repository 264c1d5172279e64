#pragma once

#include <memory>
#include <string>
#include <vector>

#include "core/sidecar/codec_training.h"
#include "core/workbench/snapshot.h"
#include "core/workbench/task.h"

namespace savepoint {

struct Desk;

// Trains a learned codec in the background, publishing its curves as they grow and the figures as they come. A
// checkpoint in the data folder follows every few rounds: asked for with the same settings, training goes on from
// there. It can wait (paused), or end with what is trained; the codec is stored beside those that were compared, and
// joins them.
class TrainTask : public Task {
   public:
    TrainTask(Desk& desk, TrainingSettings settings);
    Step step() override;
    void stop() override { publish(Phase::absent); }
    void failed(const std::string& message) override { publish(Phase::failed, message); }
    double progress() const override { return job_.progress(); }
    std::string stage() const override { return paused_ ? "paused" : job_.stage(); }

    void pause(bool on);
    void finish_early();

   private:
    void publish(Phase phase, const std::string& error = {});
    void keep_checkpoint();
    void store();

    Desk& desk_;
    TrainingSettings settings_;
    CodecTraining job_;
    std::string folder_, checkpoint_, file_;  // empty: nothing is kept
    std::vector<CodecView> judged_;
    bool paused_ = false, enough_ = false;
    int64_t resumed_rounds_ = 0;
    double worked_ = 0;  // seconds in step()
};

}  // namespace savepoint
