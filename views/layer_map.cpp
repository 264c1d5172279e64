#include "views/layer_map.h"

#include <algorithm>
#include <cmath>

#include "views/palette.h"
#include "views/widgets.h"

namespace savepoint::views {
namespace {

float left_margin(const LayerMap::Contents& contents) {
    float widest = small_width(contents.row_title);
    for (int64_t row = 0; row < contents.rows; ++row)
        widest = std::max(widest, small_width(contents.row_label ? contents.row_label(row) : std::to_string(row)));
    return widest + 0.7f * em();
}

}  // namespace

LayerMap::Hit LayerMap::draw(const char* id, ImVec2 size, const Contents& contents) {
    const ImVec2 at = ImGui::GetCursorScreenPos();
    const float line = small_height() + 3;
    ImGui::InvisibleButton(
        id, size,
        ImGuiButtonFlags_MouseButtonLeft | ImGuiButtonFlags_MouseButtonRight | ImGuiButtonFlags_MouseButtonMiddle);
    grid_ = {
        {at.x + left_margin(contents), at.y + line}, {at.x + size.x, at.y + size.y - line}, 1, contents.rows, true};
    axis_.set_count(contents.columns);
    axis_.place(grid_.min.x, grid_.max.x);
    axis_.navigate();
    auto* draw = ImGui::GetWindowDrawList();
    small_text(draw, at, palette::text_dim, contents.row_title);
    if (contents.row_label) {
        const int64_t step = label_step(grid_.rows, grid_.max.y - grid_.min.y, small_height() + 2);
        for (int64_t row = 0; row < grid_.rows; row += step)
            small_text(
                draw,
                {grid_.min.x - 0.35f * em(), grid_.cell_min(0, row).y + (grid_.cell_size().y - small_height()) / 2},
                palette::text_dim, contents.row_label(row), 1);
    } else {
        row_labels(draw, grid_);
    }
    draw->PushClipRect(grid_.min, grid_.max, true);
    draw->AddRectFilled(grid_.min, grid_.max, palette::background);
    const int64_t first = axis_.first(), end = axis_.end();
    if (end > first && contents.rows > 0) {
        const Grid cells{{axis_.x_of(static_cast<double>(first)), grid_.min.y},
                         {axis_.x_of(static_cast<double>(end)), grid_.max.y},
                         end - first,
                         contents.rows,
                         true};
        draw_cells(draw, cells, [&](int64_t column, int64_t row) { return contents.colour(first + column, row); });
        draw_cell_texts(draw, contents, cells);
    }
    draw->PopClipRect();
    small_text(draw, {at.x, grid_.max.y + 2}, palette::text_dim, contents.column_title);
    draw_column_labels(draw, contents, grid_.max.y + 2);

    Hit hit;
    int64_t unused = 0;
    const ImVec2 mouse = ImGui::GetMousePos();
    if (ImGui::IsItemHovered() && grid_.locate(mouse, unused, hit.row)) {
        hit.column = axis_.token_at(mouse.x);
        hit.hovered = hit.column >= 0 && hit.column < contents.columns;
        hit.clicked = hit.hovered && ImGui::IsItemClicked();
    }
    return hit;
}

void LayerMap::draw_cell_texts(ImDrawList* draw, const Contents& contents, const Grid& cells) const {
    const ImVec2 size = cells.cell_size();
    if (!contents.cell_text || size.x < 2.6f * em() || size.y < small_height()) return;
    for (int64_t column = 0; column < cells.columns; ++column)
        for (int64_t row = 0; row < cells.rows; ++row) {
            const ImVec2 low = cells.cell_min(column, row);
            const ImU32 ink = readable_on(contents.colour(axis_.first() + column, row));
            draw->PushClipRect({low.x + 2, low.y}, {low.x + size.x - 2, low.y + size.y}, true);
            small_text(draw, {low.x + 3, low.y + (size.y - small_height()) / 2 - 1}, ink,
                       contents.cell_text(axis_.first() + column, row));
            draw->PopClipRect();
        }
}

// Texts where each has the room of a few letters, numbers at round steps elsewhere.
void LayerMap::draw_column_labels(ImDrawList* draw, const Contents& contents, float y) const {
    const float slot = axis_.slot();
    if (slot >= 2.2f * em() && contents.label) {
        for (int64_t column = axis_.first(); column < axis_.end(); ++column) {
            const float left = axis_.x_of(static_cast<double>(column)), right = left + slot;
            const std::string text = contents.label(column);
            draw->PushClipRect({std::max(left, grid_.min.x), y},
                               {std::min(right - 2, grid_.max.x), y + small_height() + 4}, true);
            const float spare = std::max(0.0f, slot - 2 - small_width(text));
            small_text(draw, {left + spare / 2, y}, palette::text, text);
            draw->PopClipRect();
        }
        return;
    }
    const auto number = [&](int64_t column) {
        return contents.number ? contents.number(column) : std::to_string(column);
    };
    const float needed = small_width(number(std::max<int64_t>(0, contents.columns - 1))) + 1.2f * em();
    const int64_t step = label_step(axis_.end() - axis_.first(), grid_.max.x - grid_.min.x, needed);
    for (int64_t column = (axis_.first() + step - 1) / step * step; column < axis_.end(); column += step) {
        const float x = axis_.x_of(static_cast<double>(column) + 0.5);
        if (x >= grid_.min.x + 4 * em() || column > axis_.first())
            small_text(draw, {x, y}, palette::text_dim, number(column), 0.5f);
    }
}

void LayerMap::outline(int64_t column, int64_t row, ImU32 colour, float thickness, int64_t columns) const {
    if (column + columns <= axis_.first() || column >= axis_.end()) return;
    auto* draw = ImGui::GetWindowDrawList();
    const float left = axis_.x_of(static_cast<double>(column)),
                right = axis_.x_of(static_cast<double>(column + columns));
    const float top = grid_.cell_min(0, row).y, bottom = top + grid_.cell_size().y;
    draw->PushClipRect({grid_.min.x - 2, grid_.min.y - 2}, {grid_.max.x + 2, grid_.max.y + 2}, true);
    draw->AddRect({std::round(left) - 2, std::round(top) - 2}, {std::round(right) + 1, std::round(bottom) + 1}, colour,
                  1, thickness);
    draw->PopClipRect();
}

void LayerMap::mark_column(int64_t column, ImU32 colour, float thickness) const {
    if (column < axis_.first() || column >= axis_.end()) return;
    const float x = std::round(axis_.x_of(static_cast<double>(column) + 0.5));
    ImGui::GetWindowDrawList()->AddLine({x, grid_.min.y}, {x, grid_.max.y}, colour, thickness);
}

void LayerMap::tick_column(int64_t column, ImU32 colour) const {
    if (column < axis_.first() || column >= axis_.end()) return;
    const float x = std::round(axis_.x_of(static_cast<double>(column) + 0.5));
    ImGui::GetWindowDrawList()->AddLine({x, grid_.min.y}, {x, grid_.min.y + 0.4f * em()}, colour, 2);
}

ImVec2 LayerMap::cell_centre(int64_t column, int64_t row) const {
    return {axis_.x_of(static_cast<double>(column) + 0.5), grid_.cell_min(0, row).y + grid_.cell_size().y / 2};
}

}  // namespace savepoint::views
