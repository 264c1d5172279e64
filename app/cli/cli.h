#pragma once

#include <functional>
#include <optional>

#include "core/workbench/workbench.h"

namespace savepoint {

// Median milliseconds of a frame of the window (app/frame_time.h); nothing without a display.
using FrameTime = std::function<std::optional<double>(Workbench&)>;

// The command line: the same core as the window, no window. Returns the exit status: 0 done, 1 failed
// (message on stderr), 2 not understood. `savepoint` alone, or with options of the window only, is not
// a command: is_cli_command() tells.
bool is_cli_command(int argc, char** argv);
int run_cli(int argc, char** argv, FrameTime frame_time);

}  // namespace savepoint
