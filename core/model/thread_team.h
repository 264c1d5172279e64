#pragma once

#include <atomic>
#include <functional>
#include <thread>
#include <vector>

namespace savepoint {

// A few threads that take one job together: run() hands it over once, and inside it barrier() keeps them
// in step. Waiting spins for some microseconds (a phase of a decode step is about that long) and then
// sleeps, so that a window on the same processors is not starved and an idle team uses none.
class ThreadTeam {
   public:
    explicit ThreadTeam(int size);
    ~ThreadTeam();
    ThreadTeam(const ThreadTeam&) = delete;
    ThreadTeam& operator=(const ThreadTeam&) = delete;

    int size() const { return size_; }
    // Calls job(0) here and job(1) .. job(size - 1) on the others; returns when all have. Not nested;
    // the job must not throw.
    void run(const std::function<void(int)>& job);
    void barrier();  // inside a job only, by every member

   private:
    void member(int index);

    const int size_;
    const std::function<void(int)>* job_ = nullptr;
    std::atomic<int> epoch_{0}, phase_{0}, arrived_{0};
    std::atomic<bool> stopping_{false};
    std::vector<std::jthread> members_;
};

}  // namespace savepoint
