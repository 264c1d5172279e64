#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "core/analysis/attention_capture.h"
#include "core/analysis/hedgehog_fit.h"
#include "core/model/tokenizer.h"
#include "core/sidecar/step_queue.h"

namespace savepoint {

// HedgehogFit as steps of a longer job, one text a step.
class HedgehogTraining {
   public:
    HedgehogTraining(const Transformer& model, bool rotary, int64_t texts);
    // From `sequences`, again from the first when they run out; they are read as the steps run, and must outlive them.
    // `cost`: of a step, in the queue's own unit.
    void plan(StepQueue& queue, const std::vector<std::vector<TokenId>>& sequences, double cost);

    int64_t texts() const { return texts_; }
    std::shared_ptr<const Phi> learned() const { return learned_; }  // null before the last step

   private:
    void learn(const std::vector<TokenId>& sequence);

    int64_t texts_;
    HedgehogFit fit_;
    std::optional<AttentionCapture> capture_;  // until the last step
    std::shared_ptr<const Phi> learned_;
};

}  // namespace savepoint
