#pragma once

#include <vector>

#include "views/anomaly_heads.h"
#include "views/anomaly_shown.h"

namespace savepoint::views {

// The map of *Anomaly* over the whole path: tokens by layers (upward), mean over heads.
class AnomalyLayers {
   public:
    // A click selects the token and lets `heads` bring out the layer.
    void draw(Frame& frame, const AnomalyShown& shown, TokenAxis& axis, AnomalyHeads& heads, float height);

   private:
    bool average_heads(const AnomalyView& view, const AnomalyShown& shown);  // true: something is new
    void colour_cells(const AnomalyView& view, const AnomalyShown& shown, int64_t start, int64_t end, int64_t bin);
    void input(Frame& frame, const AnomalyShown& shown, const Grid& grid, const TokenAxis& axis, AnomalyHeads& heads);

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
