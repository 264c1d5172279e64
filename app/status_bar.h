#pragma once

#include "views/frame.h"

namespace savepoint::app {

// One line along the bottom: what runs where, how fast, what is being worked on, and the session. What does not fit
// a narrow window is left out from the middle. True: the memory of the states was clicked.
bool draw_status_bar(views::Frame& frame);

std::string session_name(const SessionView& session);  // of its folder, without the ending; "Untitled"

}  // namespace savepoint::app
