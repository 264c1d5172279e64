#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>

#include "core/workbench/desk.h"

namespace savepoint {

// The worker thread and its two doors: a queue of commands in, the newest snapshot out. Waiting commands
// come first; then one step of the most urgent task; with neither, the thread sleeps.
class Worker {
   public:
    explicit Worker(WorkbenchOptions options);
    ~Worker();

    void submit(Command command);
    std::shared_ptr<const Snapshot> snapshot() const;
    void on_change(std::function<void()> callback);
    bool wait_idle(std::chrono::milliseconds timeout, bool background);

   private:
    using Clock = std::chrono::steady_clock;
    enum class Idle { no, foreground, fully };

    void run();
    std::deque<Received> take_commands();
    void carry_out(std::deque<Received> commands);
    void carry_out(const Received& received);
    void hold_or_carry_out(const Received& received);
    void release_held();
    void redo();
    void begin_background();
    bool run_one_step();
    void fail(Task& task, const std::string& message);
    void publish(bool everything);
    Idle idleness() const;
    void note_idleness();
    void sleep();
    void wake();

    mutable std::mutex mutex_;
    std::condition_variable has_work_, became_idle_;
    std::deque<Received> queue_;
    bool woken_ = false, stopping_ = false;
    Idle idle_ = Idle::no;
    std::shared_ptr<const Snapshot> snapshot_;
    std::function<void()> callback_;

    Desk desk_;
    bool preview_ran_last_ = false;
    std::jthread thread_;  // last: it uses all of the above
};

}  // namespace savepoint
