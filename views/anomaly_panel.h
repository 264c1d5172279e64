#pragma once

#include <memory>
#include <vector>

#include "views/anomaly_choice_form.h"
#include "views/chart.h"
#include "views/frame.h"
#include "views/token_axis.h"

namespace savepoint::views {

// How unusual the linear-attention state is: at the selected token by layer and head, over the tokens by layer,
// and over the tokens as one line.
class AnomalyPanel : public Panel {
   public:
    const char* title() const override { return "Anomaly"; }
    const char* help() const override {
        return "Where the attention state is unlike that of ordinary text: by layer and head at the selected token, "
               "and over "
               "the whole path.";
    }
    void draw(Frame& frame) override;
    std::vector<std::pair<std::string, std::function<void(Frame&)>>> actions() override;

   private:
    bool draw_missing(Frame& frame) const;
    void draw_controls(Frame& frame);
    void draw_mark_controls(Frame& frame);
    void draw_legend() const;
    void draw_masked(const AnomalyView& view) const;
    bool shows_kept(const AnomalyView& view) const;
    int64_t scored(const AnomalyView& view) const;  // of what the maps show
    const std::vector<float>& values_of(const AnomalyView& view) const;
    void draw_heads(Frame& frame, float height);
    void heads_input(Frame& frame, const Grid& grid, int64_t token);
    void draw_layers(Frame& frame, float height);
    void layers_input(Frame& frame, const Grid& grid);
    void draw_time_line(Frame& frame, float height);
    void draw_time_curve(ImDrawList* draw, const AnomalyView& view, double threshold, ImVec2 low, ImVec2 high) const;
    void draw_pruned_curve(ImDrawList* draw, const AnomalyView& view, ImVec2 low, ImVec2 high) const;
    void draw_token_marks(const Frame& frame, float top, float bottom) const;
    void token_input(Frame& frame, int64_t token) const;
    bool average_heads(const AnomalyView& view);  // true: something is new
    void colour_cells(const AnomalyView& view, int64_t start, int64_t end, int64_t bin);
    ImU32 colour(float value) const;
    void focus(Frame& frame, int64_t layer);

    int mode_ = 0;     // 0: layers x heads at the selected token; 1: layers x tokens
    int measure_ = 0;  // 0: percentile; 1: distance
    int cache_ = 0;    // 0: sums over all tokens; 1: over the part kept
    AnomalyChoiceForm choice_;
    double threshold_ = kMarkThreshold;  // while it is dragged, ahead of the snapshot
    bool dragging_ = false;
    int64_t picked_layer_ = -1;
    TokenAxis axis_;

    // Mean over heads, [tokens * layers], token-major; extended as tokens are scored.
    std::vector<float> means_;
    ThoughtId means_thought_ = 0;
    AnomalyChoice means_choice_;
    Pruning means_pruning_;
    int means_measure_ = -1;
    int64_t means_scored_ = 0;
    // What is in view of them, [columns * layers]; made anew when the view or the scores change.
    std::vector<ImU32> cells_;
    int64_t cells_start_ = -1, cells_end_ = -1, cells_bin_ = 0;
};

}  // namespace savepoint::views
