#pragma once

#include <functional>
#include <string>
#include <vector>

#include "core/workbench/snapshot.h"
#include "views/frame.h"
#include "views/layer_map.h"

namespace savepoint::views {

// What the panels that set two thoughts side by side share.

std::string thought_name(const ThoughtView& thought);  // "3 by the water", "3 Why is the sky.."
// A list of all thoughts; true when another was chosen.
bool thought_combo(const char* id, const GraphView& graph, ThoughtId& chosen, float width, const char* tip);
const ThoughtView* find_thought(const GraphView& graph, ThoughtId id);

// The two thoughts to begin with: the current one, and the one that it came from or is most like it by place.
struct RunChoice {
    ThoughtId a = 0, b = 0;
    // Keeps what the user chose as long as both are there.
    void follow(const Snapshot& snapshot);
    bool chosen = false;  // by the user
};

// The columns of a map over aligned tokens.
void label_pairs(LayerMap::Contents& contents, const RunPairView& runs);
// Selects a pair's token in the thought that is shown, else in b, which is then shown.
void select_pair(Frame& frame, const RunPairView& runs, int64_t pair);
// The pair of the selected token; -1: it is in neither run.
int64_t selected_pair(const Snapshot& snapshot, const RunPairView& runs);
// Ticks on the columns whose tokens are picked out (SharedUi::selection), in either run; the first `columns` pairs.
void mark_selection(const Frame& frame, const RunPairView& runs, int64_t columns, const LayerMap& map);
// Two lines of a tooltip: the tokens of both runs.
void pair_tooltip(const RunPairView& runs, int64_t pair);
// A line that says how the runs were aligned.
void alignment_line(const RunPairView& runs);

// A bar while it runs, the message when it failed, a note when it was cancelled.
void causal_progress(Frame& frame, CausalState state, double progress, const std::string& stage,
                     const std::string& error, const char* job);

std::string quoted_token(const std::string& text);  // with its spaces made visible
// A choice among the likely next tokens, -1 being automatic; true when another was chosen.
bool token_combo(const char* id, const char* name, const std::vector<CandidateView>& offered, TokenId& chosen,
                 const char* tip);
// gradient_legend() beside buttons: in the middle of their height.
void legend_in_row(const char* label, const char* low, const char* high, const std::function<ImU32(float)>& colour,
                   const char* tip);

}  // namespace savepoint::views
