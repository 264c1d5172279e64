#pragma once

#include <imgui.h>

#include <vector>

namespace savepoint::views {

// A closed line drawn with the mouse.
class Lasso {
   public:
    bool drawing() const { return !points_.empty(); }
    // Call each frame with whether the button is held on the canvas; true in the frame in which it closes.
    bool update(bool held);
    bool contains(ImVec2 point) const;  // by the even-odd rule
    void draw(ImDrawList* draw) const;
    void clear() { points_.clear(); }
    bool is_click() const;  // it never went anywhere
    const std::vector<ImVec2>& points() const { return points_; }

   private:
    std::vector<ImVec2> points_;
    ImVec2 low_{}, high_{};
};

}  // namespace savepoint::views
