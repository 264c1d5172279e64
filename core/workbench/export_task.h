#pragma once

#include <string>

#include "core/workbench/commands.h"
#include "core/workbench/task.h"

namespace savepoint {

struct Desk;

// Writes one table or tensor file of the current path, atomically. Runs after the analyses of the path
// are complete, so that what they compute is all in it.
class ExportTask : public Task {
   public:
    ExportTask(Desk& desk, command::Export command);  // throws InputError for an unknown `what`
    Step step() override;

   private:
    Desk& desk_;
    command::Export command_;
};

bool export_needs_rows(const std::string& what);

}  // namespace savepoint
