#pragma once

#include "tests/views/harness.h"

namespace savepoint::test {

// Lassoes a part of a projection of the current path, then looks for the marks in every panel with an axis of tokens: as
// many as were picked out, where their positions are; none when nothing is. For a session with a drift and a patch map
// whose run b is the current thought.
void lasso_marks_token_axes(ImGuiTestContext* ctx, Harness& harness);

}  // namespace savepoint::test
