#pragma once

#include "views/anomaly_shown.h"

namespace savepoint::views {

// The percentile of every token of the path as one line, with the threshold from which on tokens are marked; a second
// line of the part kept where a pruning is chosen. A click selects a token.
void draw_anomaly_time_line(Frame& frame, TokenAxis& axis, double threshold, float height);

}  // namespace savepoint::views
