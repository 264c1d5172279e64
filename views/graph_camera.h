#pragma once

#include <imgui.h>

namespace savepoint::views {

// A smooth zoom and pan over a plane. World units are pixels at zoom 1.
class GraphCamera {
   public:
    static constexpr float kLeast = 0.04f, kMost = 2.5f;

    void set_view(ImVec2 low, ImVec2 size) { low_ = low, size_ = size; }
    ImVec2 to_screen(ImVec2 world) const {
        return {low_.x + size_.x / 2 + (world.x - centre_.x) * zoom_,
                low_.y + size_.y / 2 + (world.y - centre_.y) * zoom_};
    }
    ImVec2 to_world(ImVec2 screen) const {
        return {centre_.x + (screen.x - low_.x - size_.x / 2) / zoom_,
                centre_.y + (screen.y - low_.y - size_.y / 2) / zoom_};
    }
    float zoom() const { return zoom_; }

    void zoom_at(ImVec2 screen, float factor);  // the world below `screen` stays there
    void pan(ImVec2 pixels);
    void show(ImVec2 centre, float zoom, bool at_once);
    bool advance(float seconds);  // true: still moving, another frame is wanted

   private:
    ImVec2 low_, size_ = {1, 1}, centre_, goal_centre_, anchor_;
    float zoom_ = 1, goal_zoom_ = 1;
    bool anchored_ = false;  // zooming about anchor_ (screen) rather than going to goal_centre_
};

}  // namespace savepoint::views
