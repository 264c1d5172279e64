#pragma once

#include <memory>
#include <string>

#include "core/state/session.h"
#include "core/workbench/aside.h"
#include "core/workbench/commands.h"
#include "core/workbench/task.h"

namespace savepoint {

struct Desk;

// Ends what works on the present session; saving it goes on.
void stop_session_tasks(Desk& desk);
void start_new_session(Desk& desk);
// Reads the whole session before anything of the present one is given up; throws and leaves all as it was.
void open_session_folder(Desk& desk, const std::string& folder);

// Writes a copy of the session as it was when asked, on a thread of its own: work goes on meanwhile.
class SaveTask : public Task {
   public:
    SaveTask(Desk& desk, command::SaveSession command);
    Step step() override;
    void failed(const std::string& message) override;
    std::string stage() const override;

   private:
    void begin();
    void saved();

    Desk& desk_;
    std::string folder_;
    bool exact_rows_;
    int64_t opened_;  // which session it is a copy of
    std::shared_ptr<const SessionContents> contents_;
    std::shared_ptr<const SessionLock> lock_;  // of the folder
    std::shared_ptr<SaveReport> report_ = std::make_shared<SaveReport>();
    std::unique_ptr<Aside> aside_;
};

}  // namespace savepoint
