#pragma once

#include <string>

#include "views/frame.h"

namespace savepoint::views {

// What the frozen model is, and the sidecar beside it with the figures it got on text that it was not fitted on.
class ModelPanel : public Panel {
   public:
    const char* title() const override { return "Model and sidecar"; }
    const char* help() const override {
        return "The model's file and shapes; the sidecar that codes its states, how well it does on held-out text, and "
               "how to fit another.";
    }
    void draw(Frame& frame) override;
    std::vector<std::pair<std::string, std::function<void(Frame&)>>> actions() override;

   private:
    void draw_model(const ModelView& model);
    void draw_shapes(const ModelView& model);
    void draw_sidecar(Frame& frame);
    void draw_held_out(const SidecarView& sidecar);
    void draw_fit(Frame& frame);
    void draw_fit_settings();
    void draw_form();
    void draw_joint_settings();
    void draw_pca_settings();

    FitSettings fit_;
    bool show_fit_ = false;
};

}  // namespace savepoint::views
