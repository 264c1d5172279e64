#pragma once

#include "views/chart.h"
#include "views/frame.h"

namespace savepoint::views {

// Do different texts come back different? Signs of collapse of the sidecar, its latents or soft prompts, each green or
// red against its threshold.
class CollapsePanel : public Panel {
   public:
    const char* title() const override { return "Collapse"; }
    const char* help() const override {
        return "Signs that codes or soft prompts say the same whatever they were made of, each against a threshold, "
               "beside "
               "the model's own states.";
    }
    void draw(Frame& frame) override;
    std::vector<std::pair<std::string, std::function<void(Frame&)>>> actions() override;

   private:
    void draw_request(Frame& frame);
    void draw_table(const DiagnosisView& view) const;
    void draw_outputs(const DiagnosisView& view) const;

    CollapseSettings settings_;
};

}  // namespace savepoint::views
