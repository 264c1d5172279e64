#pragma once

#include "views/frame.h"

namespace savepoint::app {

// One line along the bottom: what runs where, how fast, what is being worked on, and the session. What does not fit
// a narrow window is left out from the middle.
void draw_status_bar(views::Frame& frame);

std::string session_name(const SessionView& session);  // of its folder, without the ending; "Untitled"

}  // namespace savepoint::app
