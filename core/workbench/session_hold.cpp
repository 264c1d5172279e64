#include "core/workbench/session_hold.h"

#include "core/model/error.h"

namespace savepoint {

std::shared_ptr<const SessionLock> SessionHold::take(const std::string& folder, bool make) {
    std::erase_if(taken_, [](const auto& lock) { return lock.expired(); });
    for (const auto& taken : taken_)
        if (auto lock = taken.lock(); lock && lock->holds(folder)) return lock;
    auto lock = std::make_shared<const SessionLock>(folder, make);
    taken_.push_back(lock);
    return lock;
}

void SessionHold::keep(std::shared_ptr<const SessionLock> lock) {
    kept_ = std::move(lock);
    seen_folder_.clear();
}

void SessionHold::look_only(const std::string& folder, const std::string& version) {
    kept_.reset();
    seen_folder_ = folder;
    seen_version_ = version;
}

void SessionHold::let_go() {
    kept_.reset();
    seen_folder_.clear();
}

void SessionHold::check_unchanged(const std::string& folder) const {
    if (folder != seen_folder_ || session_version(folder) == seen_version_) return;
    throw FileError(folder, "was changed by another process since it was opened here; save under another name");
}

}  // namespace savepoint
