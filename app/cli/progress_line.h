#pragma once

#include <string>

namespace savepoint {

// How far a job is, on standard error: one line that is written over on a terminal, a line every tenth elsewhere.
class ProgressLine {
   public:
    ProgressLine();
    ~ProgressLine() { clear(); }
    void show(double progress, const std::string& stage = {});  // progress 0 to 1
    void clear();                                               // for other output; show() brings it back

   private:
    bool terminal_, visible_ = false;
    int tenth_ = 0;
};

// All steps of a job that has step(), which says whether there are more, and progress().
template <typename Job>
void run_to_end(Job& job) {
    ProgressLine line;
    while (job.step()) {
        if constexpr (requires { job.stage(); })
            line.show(job.progress(), job.stage());
        else
            line.show(job.progress());
    }
}

}  // namespace savepoint
