#pragma once

#include <memory>

#include "views/frame.h"
#include "views/trajectory_scene.h"

namespace savepoint::views {

// The latents of the chosen thoughts as paths in the plane or space of their first principal components.
class TrajectoryPanel : public Panel {
   public:
    const char* title() const override { return "Trajectory"; }
    const char* help() const override {
        return "Each point is one token's latent, projected on the directions in which the shown latents differ most "
               "(PCA); "
               "lines join tokens in order.";
    }
    void draw(Frame& frame) override;

   private:
    struct Canvas {
        ImVec2 low, high;
        float aspect;
        std::array<float, 16> matrix;
    };

    void follow(Frame& frame);  // a new session, a new graph: ask for what is to be shown
    void draw_controls(Frame& frame);
    void draw_thoughts_combo(Frame& frame);
    void draw_group_combo(Frame& frame);
    void request(Frame& frame);
    std::vector<ThoughtId> wanted_thoughts(const Snapshot& snapshot) const;
    void draw_legend(const Snapshot& snapshot);
    void draw_thought_legend(const Snapshot& snapshot);
    void update_scene(const Snapshot& snapshot, float aspect);
    void draw_canvas(Frame& frame);
    void navigate(const Canvas& canvas);
    void zoom(const Canvas& canvas, float wheel);
    void draw_axes(const Canvas& canvas) const;
    void draw_flat_axes(const Canvas& canvas) const;
    void draw_orbit_axes(const Canvas& canvas) const;
    int nearest_point(const Canvas& canvas) const;
    void draw_marks(Frame& frame, const Canvas& canvas, int under_mouse) const;
    void draw_edit(const Snapshot& snapshot, const Canvas& canvas) const;
    void point_tooltip(const Snapshot& snapshot, const TrajectoryPoint& point) const;
    void draw_outside_note(const Canvas& canvas);
    std::string axis_name(int axis) const;

    enum class Which { path, siblings, all };
    Which which_ = Which::path;
    int group_ = -1;
    PointColour colour_ = PointColour::thought;
    std::vector<ThoughtId> asked_;
    int asked_group_ = -1;
    int64_t session_ = -1;

    std::shared_ptr<const TrajectoryView> view_;  // what the cloud holds
    PointColour view_colour_ = PointColour::thought;
    CloudCamera camera_;
    Bounds bounds_;
    int outside_ = 0;
    bool fit_ = true, everything_ = false, moved_ = false;
    float dragged_ = 0;
    PointCloud cloud_;
};

}  // namespace savepoint::views
