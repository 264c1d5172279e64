#pragma once

#include <imgui.h>

#include <cstdint>
#include <functional>
#include <span>
#include <string>

#include "core/workbench/snapshot.h"

namespace savepoint::views {

// What the analysis panels draw with: small text on axes, grids of cells, rows of controls that wrap.
// All sizes follow the font, so that they scale with the display.

float em();  // font height in pixels: the unit of every layout below

// Text at 85 % of the font, for axes and legends. align: 0 left of `at.x`, 0.5 centred on it, 1 right-aligned.
void small_text(ImDrawList* draw, ImVec2 at, ImU32 colour, const std::string& text, float align = 0);
float small_width(const std::string& text);
float small_height();

// The same as an item in the layout.
void small_label(const std::string& text, ImU32 colour);

// Stays on the line when an item of that width still fits, else starts a new one.
void flow(float width);
float button_width(const char* label);

// A row of joined buttons, exactly one pressed; true when another was chosen. marked: entries that carry a dot.
// width 0: each as wide as its label needs; else that much for all, shared equally.
bool segmented(const char* id, std::span<const std::string> labels, int& chosen, float width = 0,
               const std::function<bool(int)>& marked = {}, const char* tip = nullptr);

// A heading within a panel, with a tooltip that says what is below it.
void section(const char* title, const char* tip);

// A dim label over a value, as one item of the given width.
void metric(const char* label, const std::string& value, const char* tip, float width, ImU32 colour = 0);

// A coloured square and what it stands for, as one item.
void swatch(ImU32 colour, const std::string& label, const char* tip = nullptr);
float swatch_width(const std::string& label);

// A colour bar with end labels for any map; colour(t) for t in [0, 1].
void gradient_legend(const char* label, const char* low, const char* high, const std::function<ImU32(float)>& colour,
                     const char* tip);

// Cells [columns x rows] in a rectangle; row 0 is at the bottom when `upward`, else at the top.
struct Grid {
    ImVec2 min, max;
    int64_t columns = 0, rows = 0;
    bool upward = false;

    ImVec2 cell_size() const;
    ImVec2 cell_min(int64_t column, int64_t row) const;
    bool locate(ImVec2 point, int64_t& column, int64_t& row) const;
};
void draw_cells(ImDrawList* draw, const Grid& grid, const std::function<ImU32(int64_t column, int64_t row)>& colour);
void outline_cells(ImDrawList* draw, const Grid& grid, int64_t column, int64_t row, int64_t columns, int64_t rows,
                   ImU32 colour, float thickness = 1.5f);

// A bar between two parts of a panel, dragged to move room from one to the other; `share` is the first part's, of
// `room` pixels. Call between the parts.
void splitter(const char* id, bool vertical, float thickness, float length, float room, float& share);

// The smallest of 1, 2, 5, 10, 20, ... that leaves `needed` pixels for each label.
int64_t label_step(int64_t count, float pixels, float needed);
// Numbers below (columns) or left of (rows) a grid. offset: of the first cell.
void column_labels(ImDrawList* draw, const Grid& grid, int64_t offset = 0);
void row_labels(ImDrawList* draw, const Grid& grid);

// A token of the current path; null when it is not on it. A reference may name the thought that owns the token or
// the current one, on whose path it lies.
const TokenView* find_token(const Snapshot& snapshot, TokenRef ref);
// The same reference, naming the owner where that is known.
TokenRef by_owner(const Snapshot& snapshot, TokenRef ref);

}  // namespace savepoint::views
