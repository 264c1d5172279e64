#pragma once

#include <imgui.h>

#include <array>
#include <memory>
#include <string>
#include <vector>

namespace savepoint::views {

using Vec3 = std::array<float, 3>;

// Looks at `centre`; `extent` data units lie between it and the upper edge of the view.
struct CloudCamera {
    bool flat = true;  // the first two axes, without perspective
    Vec3 centre{};
    float extent = 1;
    float yaw = 0.6f, pitch = 0.45f;  // radians; of the 3D view

    bool operator==(const CloudCamera&) const = default;
    std::array<float, 16> matrix(float aspect) const;  // column-major, data to clip space
    Vec3 right() const;                                // the view's axes in data space
    Vec3 up() const;
};

// Where a point comes out in a rectangle on screen; `w` is its clip w (<= 0: behind the eye).
struct Projected {
    ImVec2 at;
    float w = 1;
};
Projected project(const std::array<float, 16>& matrix, const Vec3& point, ImVec2 low, ImVec2 high);

struct CloudPoint {
    Vec3 at{};
    ImU32 colour = 0;
    float radius = 3;  // pixels
};

struct CloudLine {
    Vec3 from{}, to{};
    ImU32 from_colour = 0, to_colour = 0;
    float width = 1;  // pixels
    float head = 0;   // of an arrow at the end, pixels; 0: none. Left out where the line is shorter than that
    bool operator==(const CloudLine&) const = default;
};

// Discs and lines with smooth edges, drawn by the GPU into a texture: one draw call for each kind, so that tens of
// thousands of points cost little. (Point sprites and indexed quads: instances of four vertices took three times as
// long in Mesa's software renderer.) The texture is drawn anew only when what it shows has changed.
// Wants a current OpenGL 3.3 context, made by GLFW; without one render() gives no texture and does nothing.
class PointCloud {
   public:
    PointCloud();
    ~PointCloud();
    PointCloud(const PointCloud&) = delete;
    PointCloud& operator=(const PointCloud&) = delete;

    void set(std::vector<CloudPoint> points, std::vector<CloudLine> lines);
    void set_frame(std::vector<CloudLine> lines);  // grid and axes, beneath everything; cheap when nothing changed

    // The picture, its first row at the bottom; ImTextureID_Invalid when there is none. Sizes in pixels.
    ImTextureID render(const CloudCamera& camera, int width, int height, ImU32 background, float scale = 1);
    // What it shows is a draft, drawn while the view of very many points moves: render() draws it in full when that has
    // been still for a moment, and wants to be called for it.
    bool draft() const;
    const std::string& error() const;  // why there is none, when the driver refused
    int renders() const;               // how often it was really drawn

   private:
    struct Impl;
    std::unique_ptr<Impl> impl_;
};

}  // namespace savepoint::views
