#include "views/latent_sliders.h"

#include <imgui.h>
#include <imgui_internal.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <numeric>

#include "views/chart.h"
#include "views/palette.h"
#include "views/widgets.h"

namespace savepoint::views {
namespace {

constexpr float kReach = 4;  // standard deviations to either side
constexpr int kMore = 16;

std::string signed_number(float value) {
    if (std::isnan(value)) return "?";
    char text[32];
    std::snprintf(text, sizeof text, "%+.2f", value);
    return text;
}

// Sinks and rare tokens lie far outside: their sliders reach as far as they do.
float reach_of(float original) { return std::max(kReach, std::ceil(std::fabs(original) + 0.5f)); }

// What SliderFloat draws is hidden: the track, the origin and the handle are ours.
bool bare_slider(const char* id, float& value, float reach, float width) {
    for (const ImGuiCol colour : {ImGuiCol_FrameBg, ImGuiCol_FrameBgHovered, ImGuiCol_FrameBgActive,
                                  ImGuiCol_SliderGrab, ImGuiCol_SliderGrabActive, ImGuiCol_Border})
        ImGui::PushStyleColor(colour, IM_COL32_BLACK_TRANS);
    ImGui::SetNextItemWidth(width);
    const bool changed = ImGui::SliderFloat(id, &value, -reach, reach, "", ImGuiSliderFlags_NoRoundToFormat);
    ImGui::PopStyleColor(6);
    return changed;
}

void draw_track(float value, float original, float reach, bool edited) {
    const ImVec2 low = ImGui::GetItemRectMin(), high = ImGui::GetItemRectMax();
    const float grab = ImGui::GetStyle().GrabMinSize / 2 + 2, y = (low.y + high.y) / 2, half = 0.12f * em();
    const auto x_of = [&](float z) {
        const float t = std::clamp((z + reach) / (2 * reach), 0.0f, 1.0f);
        return low.x + grab + t * (high.x - low.x - 2 * grab);
    };
    auto* draw = ImGui::GetWindowDrawList();
    draw->AddRectFilled({x_of(-reach), y - half}, {x_of(reach), y + half}, palette::raised, half);
    draw->AddRect({x_of(-reach), y - half}, {x_of(reach), y + half}, palette::border, half);
    draw->AddLine({x_of(0), y - 0.3f * em()}, {x_of(0), y + 0.3f * em()}, palette::border);
    const float from = x_of(edited ? original : 0), to = x_of(value);
    const ImU32 colour = edited ? palette::edited : palette::accent;
    draw->AddRectFilled({std::min(from, to), y - half}, {std::max(from, to), y + half},
                        with_alpha(colour, edited ? 0.9f : 0.45f));
    const float tick = x_of(original);  // where it came from
    draw->AddLine({tick, y - 0.42f * em()}, {tick, y + 0.42f * em()},
                  edited ? palette::before : with_alpha(palette::text_dim, 0.7f), 2);
    const bool busy = ImGui::IsItemActive() || ImGui::IsItemHovered();
    draw->AddCircleFilled({to, y}, (busy ? 0.36f : 0.3f) * em(), colour);
    draw->AddCircle({to, y}, (busy ? 0.36f : 0.3f) * em(), palette::panel, 0, 1.5f);
}

void draw_explained(float explained, float most, float width, const std::string& of) {
    const ImVec2 at = ImGui::GetCursorScreenPos();
    const float height = ImGui::GetFrameHeight(), y = at.y + height / 2, half = 0.16f * em();
    auto* draw = ImGui::GetWindowDrawList();
    draw->AddRectFilled({at.x, y - half}, {at.x + width, y + half}, palette::raised, 2);
    draw->AddRectFilled({at.x, y - half}, {at.x + std::max(1.0f, width * explained / most), y + half}, palette::accent,
                        2);
    ImGui::Dummy({width, height});
    if (ImGui::IsItemHovered()) ImGui::SetTooltip("explains %.2f %% of %s", 100 * explained, of.c_str());
}

std::string explained_of(const SidecarView& sidecar, LatentPart part) {
    if (sidecar.joint) return "the variance of this group's state, weighted by what an error costs";
    if (part == LatentPart::hidden) return "the variance of this group's hidden states";
    return part == LatentPart::key ? "the variance of this block's keys" : "the variance of this block's values";
}

}  // namespace

struct LatentSliders::Columns {
    float name, bar, slider, value, reset;
};

void LatentSliders::draw_controls() {
    ImGui::SetNextItemWidth(3.7f * em());
    ImGui::InputTextWithHint("##filter", "find #", filter_, sizeof filter_, ImGuiInputTextFlags_CharsDecimal);
    tooltip("Shows the components whose number begins so.");
    flow(6.9f * em());
    ImGui::SetNextItemWidth(6.9f * em());
    ImGui::Combo("##sort", &sort_, "explained\0largest |z|\0edited first\0");
    tooltip(
        "Order of the components: by the variance that they explain, by how far this token lies from the mean, or the "
        "edited ones first.");
}

std::vector<int64_t> LatentSliders::order(const Frame& frame, const EditScope& scope, std::span<const float> original,
                                          std::span<const float> explained) const {
    std::vector<int64_t> rows;
    const std::string filter = filter_;
    for (size_t c = 0; c < original.size(); ++c)
        if (filter.empty() || std::to_string(c).starts_with(filter)) rows.push_back(static_cast<int64_t>(c));
    const auto explains = [&](int64_t c) { return static_cast<size_t>(c) < explained.size() ? explained[c] : 0.0f; };
    std::ranges::stable_sort(rows, [&](int64_t a, int64_t b) { return explains(a) > explains(b); });
    if (sort_ == 1)  // of the original, so that rows do not jump while one is dragged
        std::ranges::stable_sort(rows,
                                 [&](int64_t a, int64_t b) { return std::fabs(original[a]) > std::fabs(original[b]); });
    if (sort_ == 2)
        std::ranges::stable_partition(rows, [&](int64_t c) {
            return edited_value(frame.ui.edits, scope, scope.block, c, scope.first_token).has_value();
        });
    return rows;
}

void LatentSliders::draw_heading(const Columns& columns, bool has_explained) const {
    const ImVec2 at = ImGui::GetCursorScreenPos();
    const float gap = ImGui::GetStyle().ItemSpacing.x;
    auto* draw = ImGui::GetWindowDrawList();
    small_text(draw, at, palette::text_dim, "#");
    float x = at.x + columns.name + gap;
    if (has_explained) {
        small_text(draw, {x, at.y}, palette::text_dim, "explains");
        x += columns.bar + gap;
    }
    const float pad = 0.5f * em(), right = x + columns.slider;
    small_text(draw, {x + pad, at.y}, palette::text_dim, "-4 sd", 0);
    small_text(draw, {(x + right) / 2, at.y}, palette::text_dim, "mean", 0.5f);
    small_text(draw, {right - pad, at.y}, palette::text_dim, "+4 sd", 1);
    small_text(draw, {right + gap + columns.value, at.y}, palette::text_dim, "z (sd)", 1);
    ImGui::Dummy({columns.name, small_height()});
    tooltip(
        "One row for each component of the latent. z is in standard deviations from the mean of the reference text; "
        "the pale tick is the token's own value. Double-click a slider to put it back; Ctrl+click to type a value.");
}

void LatentSliders::draw_row(Frame& frame, const EditScope& scope, const Columns& columns, int64_t component,
                             float original, float explained, float most, int64_t token, Result& result) {
    auto& edits = frame.ui.edits;
    const auto edit = edited_value(edits, scope, scope.block, component, token);
    const bool known = !edit.has_value() || !std::isnan(*edit);
    float value = edit.has_value() && known ? *edit : original;
    ImGui::PushID(std::to_string(component).c_str());
    const float left = ImGui::GetCursorPosX();
    ImGui::AlignTextToFramePadding();
    ImGui::TextColored(ImGui::ColorConvertU32ToFloat4(edit ? palette::edited : palette::text_dim), "%d",
                       static_cast<int>(component));
    ImGui::SameLine(left + columns.name + ImGui::GetStyle().ItemSpacing.x, 0);
    if (most > 0)
        draw_explained(explained, most, columns.bar, explained_of(*frame.snapshot.sidecar, scope.part)),
            ImGui::SameLine();
    LatentEdit set = make_edit(EditKind::set, scope);
    set.component = component;
    const bool moved = bare_slider("##z", value, reach_of(original), columns.slider);
    const bool reset =
        ImGui::IsItemHovered() && ImGui::IsMouseDoubleClicked(ImGuiMouseButton_Left) && !ImGui::GetIO().KeyCtrl;
    if (moved && !reset) set.amount = value, put(edits, set), result.changed = true;
    if (ImGui::IsItemDeactivatedAfterEdit()) result.released = true;
    draw_track(value, original, reach_of(original), edit.has_value());
    // Who has dragged it knows how: a tooltip would only hide the sliders below.
    if (!edit.has_value())
        tooltip("Drag to change this component; double-click puts it back; Ctrl+click to type a value.");
    ImGui::SameLine();
    const std::string readout = signed_number(edit.has_value() ? *edit : original);
    const float x = ImGui::GetCursorPosX() + columns.value - ImGui::CalcTextSize(readout.c_str()).x;
    ImGui::SetCursorPosX(x);
    const ImU32 colour = edit.has_value()               ? palette::edited
                         : std::fabs(original) > kReach ? palette::warning
                                                        : palette::text;
    ImGui::TextColored(ImGui::ColorConvertU32ToFloat4(colour), "%s", readout.c_str());
    const std::string about = "Component " + std::to_string(component) + ": z = " + signed_number(original) + " sd" +
                              (edit.has_value() && known ? ", edited to " + signed_number(*edit) + " sd." : ".");
    tooltip(known ? about.c_str()
                  : "Changed by an operation whose result is known only after decoding (noise, or another token's "
                    "values).");
    bool put_back = reset;
    if (edit.has_value()) {
        ImGui::SameLine();
        if (ImGui::InvisibleButton("reset", {columns.reset, ImGui::GetFrameHeight()})) put_back = true;
        const ImVec2 low = ImGui::GetItemRectMin(), high = ImGui::GetItemRectMax();
        const ImVec2 c = {(low.x + high.x) / 2, (low.y + high.y) / 2};
        const float r = 0.2f * em();
        const ImU32 cross = ImGui::IsItemHovered() ? palette::text : palette::text_dim;
        ImGui::GetWindowDrawList()->AddLine({c.x - r, c.y - r}, {c.x + r, c.y + r}, cross, 1.5f);
        ImGui::GetWindowDrawList()->AddLine({c.x - r, c.y + r}, {c.x + r, c.y - r}, cross, 1.5f);
        tooltip("Put this component back.");
    }
    if (put_back) {
        if (reset) ImGui::ClearActiveID();  // else the second click of the pair would go on dragging
        result.changed |= reset_component(edits, scope, component);
    }
    ImGui::PopID();
}

LatentSliders::Result LatentSliders::draw(Frame& frame, const EditScope& scope, std::span<const float> original,
                                          std::span<const float> explained, int64_t token) {
    Result result;
    const auto rows = order(frame, scope, original, explained);
    const float most = explained.empty() ? 0 : std::max(1e-6f, *std::ranges::max_element(explained));
    const float gap = ImGui::GetStyle().ItemSpacing.x, all = ImGui::GetContentRegionAvail().x;
    const float bar = all > 22 * em() ? 3.4f * em() : 2.8f * em();
    const float number = ImGui::CalcTextSize(std::to_string(original.size()).c_str()).x;
    Columns columns{std::max(1.6f * em(), number), most > 0 ? bar : 0, 0, 2.9f * em(), em()};
    columns.slider = all - columns.name - columns.bar - columns.value - columns.reset - gap * (most > 0 ? 4 : 3);
    columns.slider = std::max(5 * em(), columns.slider);
    draw_heading(columns, most > 0);
    ImGui::PushStyleVar(ImGuiStyleVar_ItemSpacing, {gap, 1});
    const int visible_rows = std::min<int>(shown_, static_cast<int>(rows.size()));
    for (int i = 0; i < visible_rows; ++i) {
        const int64_t c = rows[i];
        const float share = static_cast<size_t>(c) < explained.size() ? explained[c] : 0;
        draw_row(frame, scope, columns, c, original[c], share, most, token, result);
    }
    ImGui::PopStyleVar();
    if (rows.empty()) small_label("No component's number begins so.", palette::text_dim);
    if (visible_rows < static_cast<int>(rows.size())) {
        const std::string label = "Show " + std::to_string(kMore) + " more of " + std::to_string(rows.size());
        if (ImGui::Button(label.c_str(), {-FLT_MIN, 0})) shown_ += kMore;
    } else if (shown_ > kMore && static_cast<int>(rows.size()) > kMore) {
        if (ImGui::Button("Show the first 16 only", {-FLT_MIN, 0})) shown_ = kMore;
    }
    return result;
}

}  // namespace savepoint::views
