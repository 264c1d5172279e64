#pragma once

#include <cstdint>
#include <functional>

namespace savepoint {

// Runs task(0) .. task(count - 1) on up to threads() threads, this one among them, and returns when
// all are done. For loading and other coarse work; a decode step uses ThreadTeam. The first exception
// of a task is thrown here. `after_each` runs on the calling thread, with the number of tasks begun.
void parallel_tasks(int64_t count, const std::function<void(int64_t)>& task,
                    const std::function<void(int64_t)>& after_each = {});

}  // namespace savepoint
