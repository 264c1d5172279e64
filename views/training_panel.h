#pragma once

#include <string>
#include <vector>

#include "views/chart.h"
#include "views/frame.h"

namespace savepoint::views {

// Trains a learned codec from a text: what kind, how small; its curves while it learns; and at the end whether it beats
// the transform that it started from, at equal bytes, on text that neither has seen.
class TrainingPanel : public Panel {
   public:
    const char* title() const override { return "Training"; }
    const char* help() const override {
        return "Networks around the transform codec, trained on a text of your choice and judged on documents that "
               "were "
               "held out of it.";
    }
    void draw(Frame& frame) override;
    std::vector<std::pair<std::string, std::function<void(Frame&)>>> actions() override;

   private:
    void draw_text(Frame& frame);
    void draw_kind();
    void draw_more();
    void draw_summary(const TrainingSettings& settings) const;
    void draw_buttons(Frame& frame);
    void draw_progress(const TrainingView& view) const;
    void draw_curves(const TrainingView& view, ImVec2 size) const;
    void draw_groups(const TrainingView& view, ImVec2 size) const;
    void draw_verdict(const TrainingView& view) const;
    void draw_table(const TrainingView& view) const;

    TrainingSettings settings_;
    bool more_ = false;
};

}  // namespace savepoint::views
