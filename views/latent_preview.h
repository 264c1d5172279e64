#pragma once

#include "views/frame.h"

namespace savepoint::views {

// The next-token distribution after the selected token, before / control / edited, with what tells an effect from
// the codec's own error. Without a preview: the distribution as it was.
void draw_preview(Frame& frame);

// The preview belongs to the selected token, and to the edits that are pending.
bool preview_is_here(const Frame& frame);

}  // namespace savepoint::views
