#pragma once

#include <string>
#include <vector>

#include "views/chart.h"
#include "views/frame.h"

namespace savepoint::views {

// Codecs side by side on held-out text: bytes a token against what resuming from them loses, the front of those that
// none beats, and every figure in a table.
class RateDistortionPanel : public Panel {
   public:
    const char* title() const override { return "Rate and distortion"; }
    const char* help() const override {
        return "What each codec costs in bytes and loses in the next-token distribution after resuming, on text that "
               "none was fitted on. Lower left is better.";
    }
    void draw(Frame& frame) override;
    std::vector<std::pair<std::string, std::function<void(Frame&)>>> actions() override;

   private:
    struct Mark {
        const CodecView* codec;
        double x, y;
    };
    void draw_settings(Frame& frame);
    void draw_progress(const RateDistortionView& view) const;
    void draw_choices(const RateDistortionView& view);
    std::vector<Mark> marks(const RateDistortionView& view) const;
    void draw_plot(Frame& frame, const RateDistortionView& view, ImVec2 size);
    const CodecView* chosen(const RateDistortionView& view) const;  // null: none of the part that is shown
    void draw_trial(Frame& frame, const CodecView& codec);
    void draw_trial_figures(const CodecTrialView& trial) const;
    void try_on_path(Frame& frame, const CodecView& codec) const;
    void draw_table(Frame& frame, const RateDistortionView& view);
    void draw_cells(const CodecView& codec) const;
    double loss(const CodecView& codec) const;

    RateDistortionSettings settings_;
    int part_ = 0;        // kv, hidden, full
    int measure_ = 0;     // 0: KL; 1: FVU
    std::string chosen_;  // the codec that is marked in plot and table
};

}  // namespace savepoint::views
