#include "app/layout.h"

#include <imgui_internal.h>

#include <algorithm>

namespace savepoint::app {
namespace {

void scale(ImGuiDockNode* node, ImVec2 by) {
    if (!node) return;
    node->SizeRef = {node->SizeRef.x * by.x, node->SizeRef.y * by.y};
    for (ImGuiDockNode* child : node->ChildNodes) scale(child, by);
}

}  // namespace

void keep_shares(ImGuiID dockspace, ImVec2 size) {
    ImGuiDockNode* root = ImGui::DockBuilderGetNode(dockspace);
    if (!root || root->Size.x < 1 || root->Size.y < 1 || size.x < 1 || size.y < 1) return;
    if (root->Size.x == size.x && root->Size.y == size.y) return;
    scale(root, {size.x / root->Size.x, size.y / root->Size.y});
}

void build_default_layout(ImGuiID dockspace, ImVec2 size) {
    ImGui::DockBuilderRemoveNode(dockspace);
    ImGui::DockBuilderAddNode(dockspace, ImGuiDockNodeFlags_DockSpace);
    ImGui::DockBuilderSetNodeSize(dockspace, size);
    // The instruments get almost half: sliders and next-token bars stand side by side there. Text needs little more
    // than a column.
    const float right_part = size.x < 1450 ? 0.46f : 0.45f;
    ImGuiID right = 0, left = 0, centre = dockspace, below_right = 0, below_centre = 0;
    right = ImGui::DockBuilderSplitNode(centre, ImGuiDir_Right, right_part, nullptr, &centre);
    left = ImGui::DockBuilderSplitNode(centre, ImGuiDir_Left, 0.5f, nullptr, &centre);
    below_right = ImGui::DockBuilderSplitNode(right, ImGuiDir_Down, 0.42f, nullptr, &right);
    below_centre = ImGui::DockBuilderSplitNode(centre, ImGuiDir_Down, 0.55f, nullptr, &centre);
    ImGui::DockBuilderDockWindow("Transcript", left);
    ImGui::DockBuilderDockWindow("Thought graph", centre);
    for (const char* title : {"Trajectory", "Attention", "Phi"}) ImGui::DockBuilderDockWindow(title, below_centre);
    for (const char* title :
         {"Latent editor", "Projection", "Drift", "Patching", "Logit lens", "Collapse", "Experiments"})
        ImGui::DockBuilderDockWindow(title, right);
    for (const char* title :
         {"Anomaly", "Reconstruction", "Rate and distortion", "Training", "Model and sidecar", "Jobs and log"})
        ImGui::DockBuilderDockWindow(title, below_right);
    // Tabs carry their own close button; a second one at the end of the bar would only confuse. Where there are many,
    // a button before them lists them by their whole names.
    for (const ImGuiID id : {left, centre, below_centre, right, below_right})
        if (ImGuiDockNode* node = ImGui::DockBuilderGetNode(id)) {
            const bool many = id == right || id == below_right;
            node->SetLocalFlags(node->LocalFlags | ImGuiDockNodeFlags_NoCloseButton |
                                (many ? 0 : ImGuiDockNodeFlags_NoWindowMenuButton));
        }
    ImGui::DockBuilderFinish(dockspace);
}

}  // namespace savepoint::app
