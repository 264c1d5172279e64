#pragma once

#include <memory>

#include "views/cloud_canvas.h"
#include "views/frame.h"

namespace savepoint::views {

enum class PointColour { thought, position, anomaly, log_probability };

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
    void follow(Frame& frame);  // a new session, a new graph: ask for what is to be shown
    void draw_controls(Frame& frame);
    void draw_thoughts_combo(Frame& frame);
    void draw_group_combo(Frame& frame);
    void request(Frame& frame);
    std::vector<ThoughtId> wanted_thoughts(const Snapshot& snapshot) const;
    void draw_legend(const Snapshot& snapshot);
    void draw_thought_legend(const Snapshot& snapshot);
    void update_scene(const Frame& frame);
    void draw_canvas(Frame& frame);
    void draw_marks(Frame& frame) const;
    void draw_edit(const Snapshot& snapshot) const;
    void point_tooltip(const Snapshot& snapshot, const TrajectoryPoint& point) const;
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
    int64_t view_selection_ = 0;
    CloudCanvas canvas_;
};

}  // namespace savepoint::views
