#include "views/chart.h"

#include <algorithm>
#include <cmath>

#include "views/palette.h"
#include "views/widgets.h"

namespace savepoint::views {
namespace {

constexpr float kSmall = 0.85f;

ImVec2 small_size(const std::string& text) {
    return ImGui::GetFont()->CalcTextSizeA(em() * kSmall, FLT_MAX, 0, text.c_str());
}

void item_tip(const char* tip) {
    if (tip != nullptr && *tip != 0) tooltip(tip);
}

}  // namespace

float em() { return ImGui::GetFontSize(); }
float small_width(const std::string& text) { return small_size(text).x; }
float small_height() { return em() * kSmall; }

void small_text(ImDrawList* draw, ImVec2 at, ImU32 colour, const std::string& text, float align) {
    if (align > 0) at.x -= align * small_width(text);
    draw->AddText(ImGui::GetFont(), em() * kSmall, ImVec2(std::floor(at.x), std::floor(at.y)), colour, text.c_str());
}

void small_label(const std::string& text, ImU32 colour) {
    const ImVec2 at = ImGui::GetCursorScreenPos(), size = small_size(text);
    small_text(ImGui::GetWindowDrawList(), at, colour, text);
    ImGui::Dummy(size);
}

void flow(float width) {
    ImGui::SameLine();
    if (ImGui::GetContentRegionAvail().x < width) ImGui::NewLine();
}

float button_width(const char* label) {
    return ImGui::CalcTextSize(label, nullptr, true).x + 2 * ImGui::GetStyle().FramePadding.x;
}

bool segmented(const char* id, std::span<const std::string> labels, int& chosen, float width,
               const std::function<bool(int)>& marked, const char* tip) {
    const int count = static_cast<int>(labels.size());
    if (count == 0) return false;
    const auto width_of = [&](int i) {
        return width > 0 ? std::floor(width / static_cast<float>(count)) : button_width(labels[i].c_str());
    };
    float all = 0;
    for (int i = 0; i < count; ++i) all += width_of(i);
    const ImVec2 start = ImGui::GetCursorScreenPos();
    const float height = ImGui::GetFrameHeight(), rounding = ImGui::GetStyle().FrameRounding;
    auto* draw = ImGui::GetWindowDrawList();
    draw->AddRectFilled(start, {start.x + all, start.y + height}, palette::raised, rounding);
    bool changed = false;
    float x = start.x;
    ImGui::PushID(id);
    ImGui::BeginGroup();
    for (int i = 0; i < count; ++i) {
        const float each = width_of(i);
        const ImVec2 low = {x, start.y}, high = {x + each, start.y + height};
        x += each;
        ImGui::SetCursorScreenPos(low);
        if (ImGui::InvisibleButton(labels[i].c_str(), {each, height}) && chosen != i) chosen = i, changed = true;
        item_tip(tip);
        if (chosen == i)
            draw->AddRectFilled(low, high, palette::accent_dim, rounding);
        else if (ImGui::IsItemHovered())
            draw->AddRectFilled(low, high, with_alpha(palette::accent, 0.18f), rounding);
        const ImVec2 text = ImGui::CalcTextSize(labels[i].c_str());
        draw->AddText({std::floor(low.x + (each - text.x) / 2), std::floor(low.y + (height - text.y) / 2)},
                      chosen == i ? readable_on(palette::accent_dim) : palette::text, labels[i].c_str());
        if (marked && marked(i))
            draw->AddCircleFilled({high.x - 0.35f * em(), low.y + 0.35f * em()}, 0.18f * em(), palette::edited);
    }
    ImGui::EndGroup();
    ImGui::PopID();
    return changed;
}

void section(const char* title, const char* tip) {
    ImGui::Spacing();
    const ImVec2 at = ImGui::GetCursorScreenPos();
    ImGui::TextUnformatted(title);
    ImGui::SameLine();
    help_marker(tip);
    const float y = at.y + ImGui::GetTextLineHeight() / 2, from = ImGui::GetItemRectMax().x + 0.6f * em();
    const float to = at.x + ImGui::GetContentRegionAvail().x;
    if (to > from) ImGui::GetWindowDrawList()->AddLine({from, y}, {to, y}, with_alpha(palette::border, 0.8f));
}

void metric(const char* label, const std::string& value, const char* tip, float width, ImU32 colour) {
    const ImVec2 at = ImGui::GetCursorScreenPos();
    auto* draw = ImGui::GetWindowDrawList();
    const float line = small_height() + 0.1f * em();
    draw->PushClipRect(at, {at.x + width, at.y + line + em() + 4}, true);
    small_text(draw, at, palette::text_dim, label);
    draw->AddText({at.x, at.y + line}, colour != 0 ? colour : palette::text, value.c_str());
    draw->PopClipRect();
    ImGui::Dummy({width, line + em()});
    item_tip(tip);
}

float swatch_width(const std::string& label) { return 0.9f * em() + small_width(label); }

void swatch(ImU32 colour, const std::string& label, const char* tip) {
    const ImVec2 at = ImGui::GetCursorScreenPos();
    const float side = 0.6f * em(), top = at.y + (small_height() - side) / 2 + 1;
    auto* draw = ImGui::GetWindowDrawList();
    draw->AddRectFilled({at.x, top}, {at.x + side, top + side}, colour, 2);
    small_text(draw, {at.x + 0.9f * em(), at.y}, palette::text_dim, label);
    ImGui::Dummy({swatch_width(label), small_height() + 2});
    item_tip(tip);
}

void gradient_legend(const char* label, const char* low, const char* high, const std::function<ImU32(float)>& colour,
                     const char* tip) {
    constexpr int kSteps = 24;
    const ImVec2 at = ImGui::GetCursorScreenPos();
    const float gap = 0.4f * em(), bar = 5 * em(), name = small_width(label) + gap, left = small_width(low) + gap;
    auto* draw = ImGui::GetWindowDrawList();
    small_text(draw, at, palette::text_dim, label);
    small_text(draw, {at.x + name, at.y}, palette::text, low);
    const float from = at.x + name + left, top = at.y + 2, bottom = at.y + small_height();
    for (int i = 0; i < kSteps; ++i) {
        const ImU32 a = colour(static_cast<float>(i) / kSteps), b = colour(static_cast<float>(i + 1) / kSteps);
        draw->AddRectFilledMultiColor({from + bar * i / kSteps, top}, {from + bar * (i + 1) / kSteps, bottom}, a, b, b,
                                      a);
    }
    small_text(draw, {from + bar + gap, at.y}, palette::text, high);
    ImGui::Dummy({name + left + bar + gap + small_width(high), small_height() + 2});
    item_tip(tip);
}

ImVec2 Grid::cell_size() const {
    return {(max.x - min.x) / std::max<int64_t>(1, columns), (max.y - min.y) / std::max<int64_t>(1, rows)};
}

ImVec2 Grid::cell_min(int64_t column, int64_t row) const {
    const ImVec2 size = cell_size();
    const int64_t from_top = upward ? rows - 1 - row : row;
    return {min.x + size.x * column, min.y + size.y * from_top};
}

bool Grid::locate(ImVec2 point, int64_t& column, int64_t& row) const {
    if (columns <= 0 || rows <= 0) return false;
    if (point.x < min.x || point.x >= max.x || point.y < min.y || point.y >= max.y) return false;
    const ImVec2 size = cell_size();
    column = std::min(columns - 1, static_cast<int64_t>((point.x - min.x) / size.x));
    const int64_t from_top = std::min(rows - 1, static_cast<int64_t>((point.y - min.y) / size.y));
    row = upward ? rows - 1 - from_top : from_top;
    return true;
}

void draw_cells(ImDrawList* draw, const Grid& grid, const std::function<ImU32(int64_t, int64_t)>& colour) {
    const ImVec2 size = grid.cell_size();
    // A seam between cells only where it does not eat a good part of them.
    const bool roomy = size.x >= 7 && size.y >= 7;
    const float gap_x = roomy ? 1.0f : 0, gap_y = gap_x;
    for (int64_t row = 0; row < grid.rows; ++row)
        for (int64_t column = 0; column < grid.columns; ++column) {
            const ImVec2 low = grid.cell_min(column, row);
            // Rounded to pixels, so that neither seams nor overlaps flicker.
            const ImVec2 from = {std::round(low.x), std::round(low.y)};
            const ImVec2 to = {std::round(low.x + size.x) - gap_x, std::round(low.y + size.y) - gap_y};
            draw->AddRectFilled(from, to, colour(column, row));
        }
}

void outline_cells(ImDrawList* draw, const Grid& grid, int64_t column, int64_t row, int64_t columns, int64_t rows,
                   ImU32 colour, float thickness) {
    const ImVec2 size = grid.cell_size();
    const ImVec2 low = grid.cell_min(column, grid.upward ? row + rows - 1 : row);
    draw->AddRect({std::round(low.x) - 1, std::round(low.y) - 1},
                  {std::round(low.x + size.x * columns), std::round(low.y + size.y * rows)}, colour, 1.0f, thickness);
}

void splitter(const char* id, bool vertical, float thickness, float length, float room, float& share) {
    const ImVec2 at = ImGui::GetCursorScreenPos();
    const ImVec2 size = vertical ? ImVec2(thickness, length) : ImVec2(length, thickness);
    ImGui::InvisibleButton(id, size);
    const bool busy = ImGui::IsItemActive() || ImGui::IsItemHovered();
    if (busy) ImGui::SetMouseCursor(vertical ? ImGuiMouseCursor_ResizeEW : ImGuiMouseCursor_ResizeNS);
    const ImVec2 moved = ImGui::GetIO().MouseDelta;
    if (ImGui::IsItemActive() && room > 0)
        share = std::clamp(share + (vertical ? moved.x : moved.y) / room, 0.15f, 0.85f);
    const ImVec2 middle = {at.x + size.x / 2, at.y + size.y / 2};
    const float half = busy ? 1.6f * em() : em();
    const ImVec2 along = vertical ? ImVec2(0, half) : ImVec2(half, 0);
    ImGui::GetWindowDrawList()->AddLine({middle.x - along.x, middle.y - along.y},
                                        {middle.x + along.x, middle.y + along.y},
                                        busy ? palette::accent : palette::border, 2);
}

int64_t label_step(int64_t count, float pixels, float needed) {
    if (count <= 0 || pixels <= 0) return 1;
    const double least = needed * static_cast<double>(count) / pixels;
    for (int64_t scale = 1;; scale *= 10)
        for (const int64_t step : {1, 2, 5})
            if (step * scale >= least) return step * scale;
}

void column_labels(ImDrawList* draw, const Grid& grid, int64_t offset) {
    const float width = grid.max.x - grid.min.x;
    const float needed = small_width(std::to_string(offset + grid.columns)) + 0.8f * em();
    const int64_t step = label_step(grid.columns, width, needed);
    for (int64_t c = (step - offset % step) % step; c < grid.columns; c += step) {
        const float x = grid.cell_min(c, 0).x + grid.cell_size().x / 2;
        small_text(draw, {x, grid.max.y + 2}, palette::text_dim, std::to_string(offset + c), 0.5f);
    }
}

void row_labels(ImDrawList* draw, const Grid& grid) {
    const int64_t step = label_step(grid.rows, grid.max.y - grid.min.y, small_height() + 2);
    for (int64_t r = 0; r < grid.rows; r += step) {
        const float y = grid.cell_min(0, r).y + (grid.cell_size().y - small_height()) / 2;
        small_text(draw, {grid.min.x - 0.35f * em(), y}, palette::text_dim, std::to_string(r), 1);
    }
}

const TokenView* find_token(const Snapshot& snapshot, TokenRef ref) {
    if (snapshot.path == nullptr || ref.position < 0) return nullptr;
    const auto& tokens = snapshot.path->tokens;
    if (ref.position >= static_cast<int64_t>(tokens.size())) return nullptr;
    const TokenView* token = tokens[ref.position].get();
    const bool here = token != nullptr && (token->thought == ref.thought || snapshot.path->thought == ref.thought);
    return here ? token : nullptr;
}

TokenRef by_owner(const Snapshot& snapshot, TokenRef ref) {
    const TokenView* token = find_token(snapshot, ref);
    return token != nullptr ? TokenRef{token->thought, ref.position} : ref;
}

}  // namespace savepoint::views
