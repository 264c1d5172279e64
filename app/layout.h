#pragma once

#include <imgui.h>

namespace savepoint::app {

// The first arrangement of panels: reading on the left, the graph and paths of thoughts in the middle, instruments
// on the right. Replaces whatever the dockspace held.
void build_default_layout(ImGuiID dockspace, ImVec2 size);

// Every panel keeps its share when the window's size changes, or when an arrangement comes from a window of another
// size. (Dear ImGui itself would take all from the panels in the middle.) Call before the dockspace is drawn.
void keep_shares(ImGuiID dockspace, ImVec2 size);

}  // namespace savepoint::app
