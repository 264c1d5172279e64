#pragma once

#include <optional>

#include "core/workbench/workbench.h"

namespace savepoint {

// Median milliseconds that one frame of the full default layout at 1600x900 takes to build, draw and finish,
// over a session that the workbench holds; nothing when there is no display.
std::optional<double> frame_milliseconds(Workbench& workbench);

}  // namespace savepoint
