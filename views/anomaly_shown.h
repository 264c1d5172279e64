#pragma once

#include <imgui.h>

#include <cstdint>
#include <vector>

#include "views/frame.h"
#include "views/token_axis.h"

namespace savepoint::views {

// What the maps and the time line of *Anomaly* share: which numbers of the scores are shown, their colours, and where
// tokens are marked.
struct AnomalyShown {
    int measure = 0;  // 0: percentile; 1: distance
    int cache = 0;    // 0: sums over all tokens; 1: over the part kept

    bool kept(const AnomalyView& view) const { return cache == 1 && view.pruning.kind != PruningKind::none; }
    int64_t scored(const AnomalyView& view) const { return kept(view) ? view.pruned_scored : view.scored; }
    const std::vector<float>& values(const AnomalyView& view) const;
    ImU32 colour(float value) const;
};

// NaN where it is not scored.
float value_at(const std::vector<float>& values, const AnomalyView& view, int64_t token, int64_t layer, int64_t head);
// Of the current path; null where there is none.
const TokenView* token_at(const Snapshot& snapshot, int64_t position);
int64_t group_of_layer(const SidecarView& sidecar, int64_t layer);  // -1: none

float anomaly_left_margin();  // of axes below each other
void axis_title(ImDrawList* draw, ImVec2 at, const char* text);
// The selected and the hovered token, and those that are picked out, between two heights of an axis.
void mark_tokens(const Frame& frame, const TokenAxis& axis, float top, float bottom);

}  // namespace savepoint::views
