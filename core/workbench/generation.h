#pragma once

#include <ATen/core/Tensor.h>

#include <chrono>
#include <optional>
#include <vector>

#include "core/state/replay.h"
#include "core/workbench/plans.h"
#include "core/workbench/task.h"

namespace savepoint {

struct Desk;

// Makes the thought of a plan: its given tokens in the passes that its execution shape says (replay.h),
// then sampled tokens one by one. A step is one pass or one token. Stopping keeps what was generated; a
// thought whose given tokens have not all run is taken back.
class GenerationTask : public Task {
   public:
    GenerationTask(Desk& desk, GenerationPlan plan);
    Step step() override;
    void stop() override;
    double progress() const override;
    std::string stage() const override;

   private:
    void run_given(const Pass& pass);
    void sample_next();
    void append(TokenId token, const at::Tensor& logits_after, const StateRows& row);
    void need_logits();  // of the path so far
    void set_logits(const at::Tensor& logits);
    float log_probability_of(TokenId token) const;
    bool is_full() const;
    void look_at_edit();
    void finish();
    void take_back();
    void leave();

    Desk& desk_;
    Thought planned_;  // with all given tokens and edits: what the passes are cut from
    GenerateSettings settings_;
    ThoughtId id_ = 0, before_ = 0;   // before_: the path shown before, should this one be taken back
    std::optional<int64_t> look_at_;  // the given token to be selected
    TokenRef selected_before_;
    std::vector<Pass> passes_;
    size_t next_pass_ = 0;
    at::Tensor logits_;  // after the last token; undefined before the first
    Distribution next_;  // which they make
    int64_t sampled_ = 0;
    bool ended_ = false;
    std::chrono::steady_clock::time_point first_sample_;
};

}  // namespace savepoint
