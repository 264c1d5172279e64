#pragma once

#include <imgui.h>

#include <cstdint>
#include <functional>
#include <string>

#include "views/chart.h"
#include "views/token_axis.h"

namespace savepoint::views {

// A heat map of layers (upward) by tokens, or by anything else along a row: labels, zoom and pan, what is under the
// mouse.
class LayerMap {
   public:
    struct Contents {
        int64_t columns = 0, rows = 0;
        std::function<ImU32(int64_t column, int64_t row)> colour;
        std::function<std::string(int64_t column)> label;                   // text under a column, where there is room
        std::function<std::string(int64_t column)> number;                  // where there is not
        std::function<std::string(int64_t row)> row_label;                  // null: its number
        std::function<std::string(int64_t column, int64_t row)> cell_text;  // in a cell, where it has the room
        std::string row_title = "layer", column_title = "token";
    };
    struct Hit {
        bool hovered = false, clicked = false;
        int64_t column = 0, row = 0;
    };
    Hit draw(const char* id, ImVec2 size, const Contents& contents);
    // After draw(): around cells.
    void outline(int64_t column, int64_t row, ImU32 colour, float thickness = 2, int64_t columns = 1) const;
    // A thin line through a whole column.
    void mark_column(int64_t column, ImU32 colour, float thickness = 1) const;
    // A short tick at the top of a column: of many, which leave the cells to be seen.
    void tick_column(int64_t column, ImU32 colour) const;
    ImVec2 cell_centre(int64_t column, int64_t row) const;
    void reset() { axis_.reset(); }

   private:
    void draw_cell_texts(ImDrawList* draw, const Contents& contents, const Grid& cells) const;
    void draw_column_labels(ImDrawList* draw, const Contents& contents, float y) const;

    TokenAxis axis_;
    Grid grid_;  // one column, all rows: the frame
};

}  // namespace savepoint::views
