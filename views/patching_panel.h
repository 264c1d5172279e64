#pragma once

#include <string>
#include <vector>

#include "views/layer_map.h"
#include "views/run_pair.h"

namespace savepoint::views {

// Which place of a thought turns its outcome into another's: activations are put from the source into the destination,
// cell by cell, and the map shows how much of the outcome came with each.
class PatchingPanel : public Panel {
   public:
    const char* title() const override { return "Patching"; }
    const char* help() const override {
        return "Activation patching: one place of a thought at a time is given what another thought computed there. "
               "Bright cells carry the difference between the two outcomes.";
    }
    void draw(Frame& frame) override;
    std::vector<std::pair<std::string, std::function<void(Frame&)>>> actions() override;

   private:
    void draw_runs(Frame& frame);
    void draw_outcome(Frame& frame);
    void draw_result(const PatchView& view) const;
    void draw_choices(Frame& frame, const PatchView& view);
    void draw_map(Frame& frame, const PatchView& view, const PatchScores& scores);
    void draw_tooltip(const PatchView& view, const PatchScores& scores, int64_t column, int64_t row) const;
    void start(Frame& frame) const;
    void draw_head_layers(Frame& frame, const PatchView& view);
    void show_head_layer(Frame& frame, const PatchView& view, int64_t layer);
    void tooltip_title(const PatchView& view, const PatchScores& scores, int64_t column, int64_t row) const;
    const PatchScores* shown_scores(const PatchView& view) const;

    RunChoice runs_;
    bool at_selected_ = false;  // the outcome is the selected token's
    TokenId target_ = -1, distractor_ = -1;
    int site_ = 0, measure_ = 0;
    int64_t head_layer_ = -1;  // of heads: token by token in this layer; -1: every layer
    LayerMap map_;
};

}  // namespace savepoint::views
