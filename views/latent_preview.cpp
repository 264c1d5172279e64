#include "views/latent_preview.h"

#include <imgui.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <vector>

#include "views/chart.h"
#include "views/palette.h"
#include "views/widgets.h"

namespace savepoint::views {
namespace {

constexpr const char* kBeforeTip = "before: the model's own next-token distribution after this token, exact.";
constexpr const char* kControlTip =
    "control: the same, with the unedited latent decoded in the state's place. What differs from 'before' is the "
    "codec's error, not an effect.";
constexpr const char* kEditedTip = "edited: the same, with the edited latent decoded in the state's place.";

std::string percent(float p) {
    char text[16];
    std::snprintf(text, sizeof text, p >= 0.0995f ? "%.0f" : "%.1f", 100 * p);
    return text;
}

std::string two_digits(double value) {
    if (std::isnan(value)) return "-";
    char text[24];
    std::snprintf(text, sizeof text, "%.2f", value);
    return text;
}

std::string nats(double value) { return format_number(value, 2) + " nats"; }

void draw_metrics(const PreviewView& preview) {
    // Four in a row, or two rows of two where the panel is narrow.
    const bool wide = ImGui::GetContentRegionAvail().x > 21 * em();
    const float width = ImGui::GetContentRegionAvail().x / (wide ? 4 : 2) - ImGui::GetStyle().ItemSpacing.x;
    const bool weak = preview.kl_edited < 2 * preview.kl_control;
    metric("codec error", nats(preview.kl_control),
           "KL(before || control), in nats: how far decoding the unedited latent alone moves the distribution.", width,
           palette::control);
    ImGui::SameLine();
    metric("effect", nats(preview.kl_edited),
           "KL(control || edited), in nats: what the edit itself does to the next-token distribution.", width,
           weak ? palette::warning : palette::edited);
    if (wide) ImGui::SameLine();
    metric("distance", two_digits(preview.distance_control) + " to " + two_digits(preview.distance_edited),
           "Distance of z from the cloud of the reference text, unedited and edited: the root of its mean squared "
           "component in standard deviations. 1 is typical; the model never meets states far beyond 2.",
           width, preview.distance_edited > 2 ? palette::warning : 0);
    ImGui::SameLine();
    char latency[32];
    std::snprintf(latency, sizeof latency, "%.0f ms", preview.milliseconds);
    metric("latency", latency, "Time from the change to this result, in milliseconds.", width);
}

void warn(const std::string& text) {
    ImGui::PushStyleColor(ImGuiCol_Text, palette::warning);
    ImGui::TextWrapped("%s", text.c_str());
    ImGui::PopStyleColor();
}

void draw_warnings(const PreviewView& preview) {
    if (preview.kl_edited < 2 * preview.kl_control) {
        warn("The effect is within the codec's own error.");
        tooltip(
            "KL(control || edited) is less than twice KL(before || control): do not read it as an effect of the edit.");
    }
    if (preview.distance_edited > 2) {
        warn("The edited z is far from the reference cloud.");
        tooltip(
            "Such states do not occur in the reference text: what the model does with them says little about what it "
            "does otherwise.");
    }
}

// On the heading's line, at its right end, or on its own where that is taken.
void draw_legend(float heading_end, float y) {
    const float right = ImGui::GetContentRegionAvail().x + ImGui::GetCursorPosX();
    const float width = swatch_width("before") + swatch_width("control") + swatch_width("edited") + 2 * em();
    if (right - width > heading_end + em()) ImGui::SetCursorPos({right - width, y + 0.1f * em()});
    swatch(palette::before, "before", kBeforeTip);
    ImGui::SameLine(0, em());
    swatch(palette::control, "control", kControlTip);
    ImGui::SameLine(0, em());
    swatch(palette::edited, "edited", kEditedTip);
}

void heading(const char* title, const char* tip) {
    ImGui::TextUnformatted(title);
    ImGui::SameLine();
    help_marker(tip);
}

std::vector<PreviewRow> rows_before(const TokenView* token) {
    std::vector<PreviewRow> rows;
    if (token == nullptr) return rows;
    for (const auto& next : token->next) rows.push_back({next.id, next.text, next.probability, NAN, NAN});
    return rows;
}

void row_tooltip(const PreviewRow& row) {
    if (!ImGui::BeginTooltip()) return;
    ImGui::Text("\"%s\"", visible(row.text).c_str());
    ImGui::TextDisabled("token id %d", static_cast<int>(row.id));
    ImGui::Text("before   %8.3f %%", 100 * row.before);
    if (!std::isnan(row.edited)) {
        ImGui::Text("control  %8.3f %%", 100 * row.control);
        ImGui::Text("edited   %8.3f %%  (x %.2f of control)", 100 * row.edited,
                    row.edited / std::max(1e-9f, row.control));
    }
    ImGui::EndTooltip();
}

struct RowLayout {
    float name, numbers, bars, height, most;
};

void draw_bars(ImDrawList* draw, ImVec2 at, const PreviewRow& row, const RowLayout& layout) {
    const bool all = !std::isnan(row.edited);
    const int count = all ? 3 : 1;
    const float thick = all ? std::floor((layout.height - 5) / 3) : 0.5f * em();
    const float top = at.y + (layout.height - count * thick - (count - 1)) / 2;
    const float values[] = {row.before, row.control, row.edited};
    const ImU32 colours[] = {palette::before, palette::control, palette::edited};
    for (int i = 0; i < count; ++i) {
        const float y = std::floor(top + i * (thick + 1));
        const float length = std::max(1.0f, layout.bars * std::min(1.0f, values[i] / layout.most));
        draw->AddRectFilled({at.x, y}, {at.x + length, y + thick}, colours[i], 1);
    }
}

void draw_numbers(ImDrawList* draw, ImVec2 right, const PreviewRow& row) {
    if (std::isnan(row.edited)) {
        small_text(draw, right, palette::text, percent(row.before) + " %", 1);
        return;
    }
    const bool up = row.edited > row.control;
    const bool plain = std::fabs(row.edited - row.control) < 0.01f;
    const std::string to = percent(row.edited) + " %";
    small_text(draw, right, plain ? palette::text : palette::edited, to, 1);
    const float mid = right.x - small_width("88.8 %") - 0.9f * em(), y = right.y + small_height() / 2, r = 0.22f * em();
    if (!plain) {  // drawn, so that it does not depend on the font
        const float s = up ? -1.0f : 1.0f;
        draw->AddTriangleFilled({mid - r, y - s * r * 0.6f}, {mid + r, y - s * r * 0.6f}, {mid, y + s * r},
                                palette::text_dim);
    }
    small_text(draw, {mid - 0.5f * em(), right.y}, palette::control, percent(row.control), 1);
}

void draw_row(const PreviewRow& row, const RowLayout& layout) {
    const ImVec2 at = ImGui::GetCursorScreenPos();
    const float width = layout.name + layout.bars + layout.numbers;
    auto* draw = ImGui::GetWindowDrawList();
    ImGui::Dummy({width, layout.height});
    if (ImGui::IsItemHovered()) {
        draw->AddRectFilled(at, {at.x + width, at.y + layout.height}, palette::raised, 3);
        row_tooltip(row);
    }
    const float text_y = at.y + (layout.height - em()) / 2;
    draw->PushClipRect(at, {at.x + layout.name - 0.4f * em(), at.y + layout.height}, true);
    draw->AddText({at.x + 0.2f * em(), text_y}, palette::text, visible(row.text).c_str());
    draw->PopClipRect();
    draw_bars(draw, {at.x + layout.name, at.y}, row, layout);
    draw_numbers(draw, {at.x + width, at.y + (layout.height - small_height()) / 2}, row);
}

void draw_rows(const std::vector<PreviewRow>& rows) {
    RowLayout layout{};
    const float all = ImGui::GetContentRegionAvail().x;
    for (const auto& row : rows) {
        layout.name = std::max(layout.name, ImGui::CalcTextSize(visible(row.text).c_str()).x + em());
        for (const float p : {row.before, row.control, row.edited})
            if (!std::isnan(p)) layout.most = std::max(layout.most, p);
    }
    layout.most = std::max(0.02f, layout.most);
    layout.name = std::clamp(layout.name, 4 * em(), 0.32f * all);
    const bool edited = !rows.empty() && !std::isnan(rows.front().edited);
    layout.numbers = edited ? small_width("88.8 %") + small_width("88.8") + 2.4f * em() : 4 * em();
    layout.bars = std::max(2 * em(), all - layout.name - layout.numbers);
    layout.height = std::floor(1.35f * em());
    ImGui::PushStyleVar(ImGuiStyleVar_ItemSpacing, {ImGui::GetStyle().ItemSpacing.x, 2});
    for (const auto& row : rows) draw_row(row, layout);
    ImGui::PopStyleVar();
}

}  // namespace

bool preview_is_here(const Frame& frame) {
    const auto& preview = frame.snapshot.preview;
    return preview != nullptr && preview->at == frame.snapshot.selected && !preview->edits.empty() &&
           !frame.ui.edits.empty();
}

void draw_preview(Frame& frame) {
    const Snapshot& snapshot = frame.snapshot;
    const TokenView* token = find_token(snapshot, snapshot.selected);
    const bool here = preview_is_here(frame);
    const bool stale = here && snapshot.preview->edits != frame.ui.edits;
    const float top = ImGui::GetCursorPosY();
    const bool waiting = !frame.ui.edits.empty() && (!here || stale);
    heading(waiting ? "Next token, computing..."
            : here  ? "Next token"
                    : "Next token, as it is",
            "The most likely tokens after the selected one, with their probability. Bars share one scale: the longest "
            "is the largest probability in the list. Right: control, and edited.");
    const float end = ImGui::GetItemRectMax().x - ImGui::GetWindowPos().x;
    if (here) {
        draw_legend(end, top);
        draw_metrics(*snapshot.preview);
        draw_warnings(*snapshot.preview);
        draw_rows(snapshot.preview->rows);
        return;
    }
    const auto rows = rows_before(token);
    if (rows.empty())
        small_label("The candidates of this token are not kept.", palette::text_dim);
    else
        draw_rows(rows);
}

}  // namespace savepoint::views
