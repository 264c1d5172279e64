#pragma once

#include "core/workbench/desk.h"

namespace savepoint {

// Carries out one command, or puts it where it waits for what it needs. Throws what the command throws.
void handle(Desk& desk, const Received& received);
// For the title of an error: "Generating", "Opening a session".
std::string title_of(const Command& command);
// Only these are carried out while a model is being loaded; the others wait, in order.
bool runs_while_loading(const Command& command);
// The newest preview that waits, when the worker is free to begin it.
void start_waiting_preview(Desk& desk);

}  // namespace savepoint
