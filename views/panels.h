#pragma once

#include <memory>
#include <vector>

#include "views/frame.h"

namespace savepoint::views {

// Every panel of the window, in the order of the View menu. The one place where panels are registered.
std::vector<std::unique_ptr<Panel>> make_panels();

}  // namespace savepoint::views
