#pragma once

#include <imgui.h>

namespace savepoint::app {

// The first arrangement of panels: reading on the left, the graph and paths of thoughts in the middle, instruments
// on the right. Replaces whatever the dockspace held.
void build_default_layout(ImGuiID dockspace, ImVec2 size);

}  // namespace savepoint::app
