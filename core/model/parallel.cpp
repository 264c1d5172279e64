#include "core/model/parallel.h"

#include <algorithm>
#include <atomic>
#include <exception>
#include <mutex>
#include <thread>
#include <vector>

#include "core/model/device.h"

namespace savepoint {

void parallel_tasks(int64_t count, const std::function<void(int64_t)>& task,
                    const std::function<void(int64_t)>& after_each) {
    std::atomic<int64_t> next{0};
    std::exception_ptr failure;
    std::mutex failure_mutex;
    const auto work = [&](bool caller) {
        try {
            for (int64_t i = next++; i < count; i = next++) {
                task(i);
                if (caller && after_each) after_each(std::min(next.load(), count));
            }
        } catch (...) {
            next = count;
            const std::scoped_lock lock(failure_mutex);
            if (!failure) failure = std::current_exception();
        }
    };
    {
        std::vector<std::jthread> helpers;
        const int64_t wanted = std::min<int64_t>(threads(), count) - 1;
        for (int64_t i = 0; i < wanted; ++i) helpers.emplace_back(work, false);
        work(true);
    }
    if (failure) std::rethrow_exception(failure);
}

}  // namespace savepoint
