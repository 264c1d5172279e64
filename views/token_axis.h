#pragma once

#include <imgui.h>

#include <cstdint>

namespace savepoint::views {

// The horizontal axis of plots over the tokens of a path: which part is in view, and where a token lies.
// A path that grows stays in view as a whole until the user has zoomed.
class TokenAxis {
   public:
    void set_count(int64_t tokens);
    void place(float left, float right) { left_ = left, right_ = right; }
    void reset() { first_ = 0, last_ = static_cast<double>(count_), whole_ = true; }

    // For the last item: the wheel zooms around the mouse, dragging with the right or middle button pans,
    // a double-click of either shows everything again.
    void navigate();

    float x_of(double token) const;  // left edge of the token's slot
    float slot() const { return static_cast<float>((right_ - left_) / (last_ - first_)); }
    int64_t token_at(float x) const;  // -1: none
    int64_t first() const;            // tokens in view: [first, end)
    int64_t end() const;
    int64_t bin() const;  // tokens that share a column, so that columns are at least 2 pixels wide
    bool whole() const { return whole_; }

    void draw_labels(ImDrawList* draw, float y) const;

   private:
    void clamp();

    int64_t count_ = 0;
    double first_ = 0, last_ = 1;
    float left_ = 0, right_ = 1;
    bool whole_ = true;
};

}  // namespace savepoint::views
