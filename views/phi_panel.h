#pragma once

#include <string>
#include <utility>
#include <vector>

#include "core/workbench/phi_ranking_view.h"
#include "views/chart.h"
#include "views/frame.h"

namespace savepoint::views {

// Which feature map comes nearest to softmax attention: a table that sorts, and the curves over layers.
class PhiPanel : public Panel {
   public:
    const char* title() const override { return "Phi"; }
    const char* help() const override {
        return "Which phi makes linear attention come nearest to what the model's own attention gives out, on text "
               "that nothing was fitted on: over all layers in a table, layer by layer in a plot.";
    }
    void draw(Frame& frame) override;
    std::vector<std::pair<std::string, std::function<void(Frame&)>>> actions() override;

   private:
    PhiRankingSettings settings() const;
    void draw_settings(Frame& frame);
    void draw_progress(Frame& frame, const PhiRankingView& view) const;
    std::pair<double, double> range(const PhiRankingView& view) const;  // of the plot
    void draw_plot(const PhiRankingView& view, ImVec2 size) const;
    void draw_table(const PhiRankingView& view, ImVec2 size);
    std::vector<size_t> sorted(const PhiRankingView& view) const;
    bool chosen(const PhiFidelity& row) const { return row.kind == chosen_kind_ && row.rotary == chosen_rotary_; }

    PhiRankingSettings asked_;
    int keys_ = 0;         // 0: before and after rotary embedding, 1: before it, 2: after it
    bool learned_ = true;  // hedgehog too
    int measure_ = 0;      // 0: relative error, 1: cosine
    int sort_column_ = 3;
    bool descending_ = false;
    PhiKind chosen_kind_ = PhiKind::identity;
    bool chosen_rotary_ = false, any_chosen_ = false;
};

}  // namespace savepoint::views
