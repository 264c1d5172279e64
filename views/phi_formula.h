#pragma once

#include "core/analysis/phi_settings.h"

namespace savepoint::views {

const char* phi_formula(PhiKind kind);  // for tooltips, with where it comes from

}  // namespace savepoint::views
