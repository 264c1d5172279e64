#include "core/model/thread_team.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace savepoint {

namespace {

// About 20 microseconds; a phase between two barriers takes 5 to 60.
constexpr int kSpins = 1000;

void relax() {
#if defined(__x86_64__)
    _mm_pause();
#endif
}

void wait_while(const std::atomic<int>& value, int seen) {
    for (int spin = 0; spin < kSpins; ++spin) {
        if (value.load(std::memory_order_acquire) != seen) return;
        relax();
    }
    while (value.load(std::memory_order_acquire) == seen) value.wait(seen, std::memory_order_acquire);
}

}  // namespace

ThreadTeam::ThreadTeam(int size) : size_(size < 1 ? 1 : size) {
    for (int index = 1; index < size_; ++index) members_.emplace_back([this, index] { member(index); });
}

ThreadTeam::~ThreadTeam() {
    stopping_ = true;
    epoch_.fetch_add(1, std::memory_order_release);
    epoch_.notify_all();
}

void ThreadTeam::run(const std::function<void(int)>& job) {
    job_ = &job;
    epoch_.fetch_add(1, std::memory_order_release);
    epoch_.notify_all();
    job(0);
    barrier();
}

void ThreadTeam::barrier() {
    if (size_ == 1) return;
    const int phase = phase_.load(std::memory_order_relaxed);
    if (arrived_.fetch_add(1, std::memory_order_acq_rel) + 1 == size_) {
        arrived_.store(0, std::memory_order_relaxed);
        phase_.fetch_add(1, std::memory_order_release);
        phase_.notify_all();
    } else {
        wait_while(phase_, phase);
    }
}

void ThreadTeam::member(int index) {
    int seen = 0;
    while (true) {
        wait_while(epoch_, seen);
        seen = epoch_.load(std::memory_order_acquire);
        if (stopping_) return;
        (*job_)(index);
        barrier();
    }
}

}  // namespace savepoint
