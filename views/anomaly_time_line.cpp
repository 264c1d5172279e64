#include "views/anomaly_time_line.h"

#include <imgui.h>

#include <algorithm>
#include <cmath>
#include <string>

#include "views/chart.h"
#include "views/choice_names.h"
#include "views/palette.h"
#include "views/widgets.h"

namespace savepoint::views {
namespace {

constexpr float kTop = 112;  // of the time line, so that there is room for marks

float token_percentile(const AnomalyView& view, int64_t token) {
    return token < view.scored && token < static_cast<int64_t>(view.token_percentile.size())
               ? view.token_percentile[token]
               : NAN;
}

void draw_curve(ImDrawList* draw, const AnomalyView& view, const TokenAxis& axis, double threshold, ImVec2 low,
                ImVec2 high) {
    const auto y_of = [&](float percentile) { return high.y - (high.y - low.y) * percentile / kTop; };
    const int64_t bin = axis.bin(), end = std::min(axis.end(), view.scored);
    std::vector<ImVec2> line;
    std::vector<float> marks;
    for (int64_t start = axis.first() / bin * bin; start < end; start += bin) {
        float most = NAN;
        for (int64_t token = start; token < std::min(end, start + bin); ++token)
            most = std::fmax(most, token_percentile(view, token));
        if (std::isnan(most)) continue;
        const float left = axis.x_of(static_cast<double>(start)), right = axis.x_of(static_cast<double>(start + bin));
        draw->AddRectFilled(
            {left, y_of(most)}, {right, high.y},
            is_marked(most, threshold) ? with_alpha(palette::bad, 0.4f) : with_alpha(palette::accent, 0.16f));
        line.push_back({(left + right) / 2, y_of(most)});
        if (is_marked(most, threshold)) marks.push_back(line.back().x);
    }
    if (line.size() > 1) draw->AddPolyline(line.data(), static_cast<int>(line.size()), palette::accent, 1.5f);
    const float half = 0.3f * em();
    for (const float x : marks)
        draw->AddTriangleFilled({x - half, low.y}, {x + half, low.y}, {x, low.y + 1.5f * half}, palette::bad);
}

void draw_pruned_curve(ImDrawList* draw, const AnomalyView& view, const TokenAxis& axis, ImVec2 low, ImVec2 high) {
    const int64_t bin = axis.bin(), end = std::min(axis.end(), view.pruned_scored);
    std::vector<ImVec2> line;
    for (int64_t start = axis.first() / bin * bin; start < end; start += bin) {
        float most = 0;
        for (int64_t token = start; token < std::min(end, start + bin); ++token)
            most = std::fmax(most, view.pruned_token_percentile[static_cast<size_t>(token)]);
        line.push_back({axis.x_of(static_cast<double>(start) + 0.5 * static_cast<double>(bin)),
                        high.y - (high.y - low.y) * most / kTop});
    }
    if (line.size() > 1) draw->AddPolyline(line.data(), static_cast<int>(line.size()), palette::warning, 1.5f);
}

void token_input(Frame& frame, int64_t token) {
    const TokenView* text = token_at(frame.snapshot, token);
    if (text == nullptr) return;
    frame.ui.hovering = {text->thought, token};
    token_tooltip(*text);
    if (ImGui::IsItemClicked()) frame.submit(command::Select{{text->thought, token}});
}

}  // namespace

void draw_anomaly_time_line(Frame& frame, TokenAxis& axis, double threshold, float height) {
    const AnomalyView& view = *frame.snapshot.anomaly;
    const ImVec2 at = ImGui::GetCursorScreenPos(), room = ImGui::GetContentRegionAvail();
    const float line = small_height() + 3;
    ImGui::InvisibleButton(
        "time", {room.x, height},
        ImGuiButtonFlags_MouseButtonLeft | ImGuiButtonFlags_MouseButtonRight | ImGuiButtonFlags_MouseButtonMiddle);
    const ImVec2 low = {at.x + anomaly_left_margin(), at.y + line}, high = {at.x + room.x, at.y + height - line};
    axis.place(low.x, high.x);
    axis.navigate();
    auto* draw = ImGui::GetWindowDrawList();
    draw->AddRectFilled(low, high, palette::background, 2);
    const auto y_of = [&](float percentile) { return high.y - (high.y - low.y) * percentile / kTop; };
    for (const float percentile : {0.0f, 50.0f, 100.0f}) {
        draw->AddLine({low.x, y_of(percentile)}, {high.x, y_of(percentile)}, with_alpha(palette::border, 0.6f));
        small_text(draw, {low.x - 0.35f * em(), y_of(percentile) - small_height() / 2}, palette::text_dim,
                   format_number(percentile), 1);
    }
    draw->PushClipRect(low, high, true);
    draw_curve(draw, view, axis, threshold, low, high);
    draw_pruned_curve(draw, view, axis, low, high);
    draw->PopClipRect();
    const float mark = y_of(static_cast<float>(threshold));
    for (float x = low.x; x < high.x; x += 8) draw->AddLine({x, mark}, {std::min(high.x, x + 4), mark}, palette::bad);
    mark_tokens(frame, axis, low.y, high.y);
    axis.draw_labels(draw, high.y + 2);
    axis_title(draw, at, "token's percentile");
    if (view.pruning.kind != PruningKind::none)
        small_text(draw, {at.x + small_width("token's percentile") + em(), at.y}, palette::warning,
                   "of the part kept (" + display_name(view.pruning) + ")");
    small_text(draw, {high.x, at.y}, palette::bad, "- - marked from " + format_number(threshold, 4) + " on", 1);
    axis_title(draw, {at.x, high.y + 2}, "token");
    const ImVec2 mouse = ImGui::GetMousePos();
    if (ImGui::IsItemHovered() && mouse.x >= low.x && mouse.x < high.x) token_input(frame, axis.token_at(mouse.x));
}

}  // namespace savepoint::views
