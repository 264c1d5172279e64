#pragma once

#include <memory>
#include <string>
#include <vector>

#include "views/cloud_canvas.h"
#include "views/frame.h"
#include "views/lasso.h"
#include "views/projection_colours.h"
#include "views/projection_form.h"

namespace savepoint::views {

// Maps of many tokens by PCA or UMAP, made by a job when asked for: of latents, of hidden states layer by layer, or of
// a file. The trajectory panel beside it always shows the current path at once; this one takes its time and can be
// trusted, since it says how far.
class ProjectionPanel : public Panel {
   public:
    const char* title() const override { return "Projection"; }
    const char* help() const override {
        return "Maps of all tokens by PCA or UMAP: of latents, of hidden states of any layers, or of a file of points, "
               "with how far each map can be trusted. Draw around tokens to select them everywhere.";
    }
    void draw(Frame& frame) override;
    std::vector<std::pair<std::string, std::function<void(Frame&)>>> actions() override;

    const ProjectionSettings& settings() const { return settings_; }

   private:
    enum class Lines { none, tokens, layers };
    struct Scene {
        CloudCanvas canvas;
        std::shared_ptr<const std::vector<Vec3>> places;  // what it holds
        std::vector<ImU32> colours;                       // of its points, before the selection dims some
    };

    // projection_panel.cpp
    void draw_run(Frame& frame);
    void draw_look(Frame& frame, const ProjectionView& view);
    void draw_lines_combo(const ProjectionView& view);
    void draw_legend(Frame& frame, const ProjectionView& view);
    void draw_figures(const ProjectionView& view);
    void draw_selection(Frame& frame, const ProjectionView& view);
    void draw_body(Frame& frame, const ProjectionView& view);
    void draw_export(Frame& frame, const ProjectionView& view);
    const ProjectionMap& shown_map(const ProjectionView& view) const;

    // projection_maps.cpp
    void follow(Frame& frame, const ProjectionView& view);
    void update_scene(const Frame& frame, const ProjectionView& view, size_t map, bool other);
    void draw_maps(Frame& frame, const ProjectionView& view, ImVec2 size);
    void draw_map(Frame& frame, const ProjectionView& view, size_t map, ImVec2 size, bool whole);
    void draw_marks(Frame& frame, const ProjectionView& view, const CloudCanvas& canvas) const;
    void use_lasso(Frame& frame, const ProjectionView& view, size_t map);
    void pick(Frame& frame, const ProjectionView& view, const CloudCanvas& canvas);
    void point_tooltip(const Snapshot& snapshot, const ProjectionView& view, size_t point) const;
    bool draws_lines(const ProjectionView& view) const;

    ProjectionForm form_;
    ProjectionSettings settings_;
    int64_t session_ = -1;

    MapColour colour_ = MapColour::thought;
    size_t label_ = 0;  // column, of MapColour::label
    Lines lines_ = Lines::tokens;
    bool lasso_tool_ = false, components_ = false;
    int focus_ = -1;  // which of several maps has the whole room
    int component_ = 0;

    std::shared_ptr<const ProjectionView> view_;  // what the scenes hold
    std::shared_ptr<const ProjectionPoints> linked_;
    std::vector<std::unique_ptr<Scene>> scenes_;
    std::vector<PathLink> links_;
    std::vector<TokenRef> tokens_;  // of the points: small, since every frame looks for the selected one
    Lines linked_lines_ = Lines::none;
    ColouredPoints coloured_;  // of the shown map, for the legend
    MapColour view_colour_ = MapColour::thought;
    size_t view_label_ = 0;
    Lines view_lines_ = Lines::tokens;
    int64_t view_selection_ = -1;
    int view_focus_ = -1;
    Lasso lasso_;
    int lasso_map_ = -1;
};

}  // namespace savepoint::views
