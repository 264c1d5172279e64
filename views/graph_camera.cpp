#include "views/graph_camera.h"

#include <algorithm>
#include <cmath>

namespace savepoint::views {

void GraphCamera::zoom_at(ImVec2 screen, float factor) {
    goal_zoom_ = std::clamp(goal_zoom_ * factor, kLeast, kMost);
    anchor_ = screen;
    anchored_ = true;
}

void GraphCamera::pan(ImVec2 pixels) {
    centre_.x -= pixels.x / zoom_, centre_.y -= pixels.y / zoom_;
    goal_centre_ = centre_;
}

void GraphCamera::show(ImVec2 centre, float zoom, bool at_once) {
    goal_centre_ = centre;
    goal_zoom_ = std::clamp(zoom, kLeast, kMost);
    anchored_ = false;
    if (at_once) centre_ = goal_centre_, zoom_ = goal_zoom_;
}

bool GraphCamera::advance(float seconds) {
    // Exponential approach: the same speed to the eye at every frame rate.
    const float step = 1 - std::exp(-14 * std::min(seconds, 0.1f));
    const ImVec2 below = to_world(anchor_);
    const float ratio = goal_zoom_ / zoom_;
    zoom_ = std::fabs(ratio - 1) < 0.003f ? goal_zoom_ : zoom_ * std::pow(ratio, step);
    if (anchored_) {
        const ImVec2 now = to_world(anchor_);
        centre_.x += below.x - now.x, centre_.y += below.y - now.y;
        goal_centre_ = centre_;
        return zoom_ != goal_zoom_;
    }
    const ImVec2 left = {goal_centre_.x - centre_.x, goal_centre_.y - centre_.y};
    const bool near = std::fabs(left.x) + std::fabs(left.y) < 0.5f / zoom_;
    centre_ = near ? goal_centre_ : ImVec2(centre_.x + step * left.x, centre_.y + step * left.y);
    return !near || zoom_ != goal_zoom_;
}

}  // namespace savepoint::views
