#pragma once

#include <string>
#include <vector>

#include "core/workbench/experiment_view.h"
#include "views/chart.h"
#include "views/frame.h"

namespace savepoint::views {

// Experiments: ROC curves of what was found, every choice in a table that sorts, and the test texts by score.
class ExperimentPanel : public Panel {
   public:
    const char* title() const override { return "Experiments"; }
    const char* help() const override {
        return "Whether the linear-attention state tells anomalous texts from normal ones, and whether it does so "
               "better "
               "than activations, length or log-probability. All figures are of texts that no detector was fitted on.";
    }
    void draw(Frame& frame) override;
    std::vector<std::pair<std::string, std::function<void(Frame&)>>> actions() override;

   private:
    struct Curve {
        std::string role;
        int64_t row;
        ImU32 colour;
    };
    void draw_settings(Frame& frame);
    void draw_export(Frame& frame, bool injected);
    void draw_progress(const ExperimentView& view) const;
    std::vector<Curve> curves(const ExperimentResult& result) const;
    void draw_found(const ExperimentResult& result, float room);
    void draw_curves(const ExperimentResult& result, ImVec2 size);
    void draw_summary(const ExperimentResult& result);
    void draw_tables(const ExperimentResult& result);
    void draw_table(const ExperimentResult& result, ImVec2 size);
    void draw_texts(const ExperimentResult& result, ImVec2 size);
    void sort_rows(const ExperimentResult& result);

    std::string builtin_ = "statements", filter_;
    bool thorough_ = false;
    int64_t chosen_ = -1;  // a row; -1: the default choice
    std::vector<int64_t> order_;
    const ExperimentResult* sorted_ = nullptr;
    int sort_column_ = 1;
    int table_ = 0;  // in a low panel: choices, or texts
    int plot_ = 0;   // ROC curves, or of injections the mean score by token, or the texts above the percentile
    bool descending_ = true;
};

}  // namespace savepoint::views
