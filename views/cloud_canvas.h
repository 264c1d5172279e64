#pragma once

#include <array>
#include <functional>
#include <string>
#include <vector>

#include "views/cloud_scene.h"
#include "views/point_cloud.h"

namespace savepoint::views {

// A cloud of places in a rectangle of a panel: panned, turned and zoomed with the mouse, with axes, framed so that a
// few outliers do not squeeze the rest together.
//   canvas.set(places, points, lines);              when they have changed
//   canvas.begin("id", size, names);                draws; what is drawn over it comes now
//   canvas.end();
class CloudCanvas {
   public:
    struct Axes {
        std::array<std::string, 3> names;
        bool numbers = true;  // false: the axes have no unit (UMAP)
    };

    // points and lines are drawn at these places or between them. `other` scene: the view is fitted again even where
    // the user has moved it.
    void set(std::vector<Vec3> places, std::vector<CloudPoint> points, std::vector<CloudLine> lines, bool other);
    void set_flat(bool flat);
    bool flat() const { return camera_.flat; }
    void reset_view() { fit_ = true, everything_ = false; }

    struct Mouse {
        bool left_drags = true;  // a drag with the left button pans or turns; false: it is the caller's
        bool wheel = true;       // the wheel zooms; false: it scrolls the window
    };
    void begin(const char* id, ImVec2 size, const Axes& axes, Mouse mouse = {true, true});
    void end();

    // Between begin and end, and until the next begin.
    Projected project(const Vec3& place) const { return views::project(matrix_, place, low_, high_); }
    ImVec2 low() const { return low_; }
    ImVec2 high() const { return high_; }
    bool hovered() const { return hovered_; }
    bool active() const { return active_; }           // a button went down on it and is still held
    bool clicked() const { return clicked_; }         // with the left button, without a drag
    int under_mouse() const { return under_mouse_; }  // index of the nearest place within reach, or -1
    const std::vector<Vec3>& places() const { return places_; }
    const CloudCamera& camera() const { return camera_; }
    // What a rectangle of another shape shows: all that this one does, or all, fitted, where the user has not moved it.
    std::function<CloudCamera(float aspect)> cameras() const;
    float aspect() const { return (high_.x - low_.x) / (high_.y - low_.y); }  // of the last frame
    int outside() const { return outside_; }
    bool draft() const { return cloud_.draft(); }  // wants to be drawn again in a moment (PointCloud)
    int renders() const { return cloud_.renders(); }

   private:
    void fit(float aspect);
    void navigate(Mouse mouse);
    void zoom(float wheel);
    int nearest() const;
    void draw_axes(const Axes& axes) const;
    void draw_flat_axes(const Axes& axes) const;
    void draw_orbit_axes(const Axes& axes) const;
    void draw_outside_note();
    PointCloud cloud_;
    std::vector<Vec3> places_;
    CloudCamera camera_;
    Bounds bounds_;
    std::array<float, 16> matrix_{};
    ImVec2 low_{}, high_{1, 1};
    int outside_ = 0, under_mouse_ = -1;
    bool fit_ = true, everything_ = false, moved_ = false;
    bool hovered_ = false, active_ = false, clicked_ = false;
    float dragged_ = 0, fitted_aspect_ = 0;
};

// Text that stays readable on top of points and lines: with a dark outline, or on a dark ground.
void halo_text(ImDrawList* draw, ImVec2 at, ImU32 colour, const std::string& text, float align = 0);
void tag_text(ImDrawList* draw, ImVec2 at, ImU32 colour, const std::string& text, float align = 0);

}  // namespace savepoint::views
