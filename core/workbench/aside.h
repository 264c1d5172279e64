#pragma once

#include <atomic>
#include <exception>
#include <functional>
#include <thread>

namespace savepoint {

// A call that cannot be cut into steps (reading a model file), on a thread of its own. The worker polls
// it. What `work` touches belongs to it until finished(); the destructor cancels and joins.
class Aside {
   public:
    // report(fraction) throws Cancelled once cancel() was called. `wake` is called from that thread, with
    // each percent of progress and at the end.
    using Report = std::function<void(double)>;
    Aside(std::function<void(const Report&)> work, std::function<void()> wake);
    ~Aside() { cancel(); }

    void cancel() { cancelled_ = true; }
    double progress() const { return progress_; }
    bool finished() const { return finished_; }
    void rethrow() const;  // what `work` threw, when finished

   private:
    void report(double fraction);

    std::function<void()> wake_;
    std::exception_ptr failure_;
    std::atomic<double> progress_{0};
    std::atomic<bool> cancelled_{false}, finished_{false};
    std::jthread thread_;  // last: it uses all of the above
};

}  // namespace savepoint
