#pragma once

#include <memory>
#include <set>
#include <vector>

#include "core/state/replay.h"
#include "core/workbench/task.h"

namespace savepoint {

struct Desk;

// Hidden states and keys and values of a thought; false after a session was opened or memory was freed.
bool rows_are_there(const Desk& desk, ThoughtId thought);
bool path_rows_are_there(const Desk& desk, ThoughtId thought);  // of every thought on its path
bool path_kv_is_there(const Desk& desk, ThoughtId thought);

// Recomputes the missing rows of a path as a job, unless such a job is under way; what is kept as z is decoded first.
void request_rows(Desk& desk, ThoughtId thought);
void release_waiting_for_rows(Desk& desk);  // what waits for them may be tried again

// Runs the thoughts of a path again, each in its own execution shape with its edits, one pass a step,
// and puts the rows back. Bit for bit what they were (replay.h).
class RowsTask : public Task {
   public:
    RowsTask(Desk& desk, ThoughtId thought);
    Step step() override;
    void stop() override;
    double progress() const override;
    ThoughtId path() const { return path_; }
    void refuse();  // after a failure as well: not to be tried again unasked

   private:
    void begin(ThoughtId thought);
    void run(const Pass& pass);
    void finish();

    Desk& desk_;
    ThoughtId path_;
    std::vector<ThoughtId> left_;  // root last
    ThoughtId thought_ = 0;        // being run
    std::vector<Pass> passes_;
    size_t next_pass_ = 0;
    std::vector<StateRows> parts_;
    std::unique_ptr<LiveCache> cache_;
    int64_t tokens_done_ = 0, tokens_all_ = 0;
};

}  // namespace savepoint
