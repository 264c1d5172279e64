#pragma once

#include <memory>
#include <vector>

#include "views/anomaly_choice_form.h"
#include "views/anomaly_layers.h"
#include "views/frame.h"

namespace savepoint::views {

// How unusual the linear-attention state is: at the selected token by layer and head, over the tokens by layer,
// and over the tokens as one line.
class AnomalyPanel : public Panel {
   public:
    const char* title() const override { return "Anomaly"; }
    const char* help() const override {
        return "Where the attention state is unlike that of ordinary text: by layer and head at the selected token, "
               "and over the whole path.";
    }
    void draw(Frame& frame) override;
    std::vector<std::pair<std::string, std::function<void(Frame&)>>> actions() override;

   private:
    bool draw_missing(Frame& frame) const;
    void draw_controls(Frame& frame);
    void draw_mark_controls(Frame& frame);
    void draw_legend() const;
    void draw_masked(const AnomalyView& view) const;

    int mode_ = 0;  // 0: layers x heads at the selected token; 1: layers x tokens
    AnomalyShown shown_;
    AnomalyChoiceForm choice_;
    double threshold_ = kMarkThreshold;  // while it is dragged, ahead of the snapshot
    bool dragging_ = false;
    TokenAxis axis_;
    AnomalyHeads heads_;
    AnomalyLayers layers_;
};

}  // namespace savepoint::views
