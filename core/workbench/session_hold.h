#pragma once

#include <memory>
#include <string>
#include <vector>

#include "core/state/session.h"

namespace savepoint {

// Which session folders this workbench may write: that of the open session, from when it is opened or first
// saved until another takes its place, and those of saves that are under way.
class SessionHold {
   public:
    // The lock of a folder, shared with whoever in this workbench has it already. Throws FileError.
    std::shared_ptr<const SessionLock> take(const std::string& folder, bool make);

    void keep(std::shared_ptr<const SessionLock> lock);  // as long as the session is open
    // Opened without the lock: another process has it, or the folder cannot be written.
    // `version`: session_version() before it was read.
    void look_only(const std::string& folder, const std::string& version);
    void let_go();  // of the open session
    // Throws FileError where saving would undo what another process has saved since look_only().
    void check_unchanged(const std::string& folder) const;

   private:
    std::shared_ptr<const SessionLock> kept_;              // null: new, never saved, or read-only
    std::vector<std::weak_ptr<const SessionLock>> taken_;  // by whomever in this workbench
    std::string seen_folder_, seen_version_;               // of a read-only session
};

}  // namespace savepoint
