#pragma once

#include <cstdint>
#include <optional>

#include "core/workbench/snapshot.h"

namespace savepoint::app {

// How much memory the states of all thoughts may take: a small modal dialog.
class MemoryDialog {
   public:
    void open(const StatusView& status);
    // The budget that was accepted in this frame, in bytes; 0: no limit.
    std::optional<int64_t> draw(const StatusView& status);

   private:
    bool opening_ = false, limited_ = true;
    double gigabytes_ = 0;
};

}  // namespace savepoint::app
