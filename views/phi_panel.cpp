#include "views/phi_panel.h"

#include <imgui.h>
#include <implot.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <numeric>

#include "views/choice_names.h"
#include "views/palette.h"
#include "views/widgets.h"

namespace savepoint::views {
namespace {

constexpr const char* kJob = "Ranking feature maps";
constexpr std::array<const char*, 6> kColumns{"phi", "rotary", "features", "error", "cosine", "masked"};
constexpr const char* kErrorTip =
    "Relative error |read-out - z| / |z| of the read-out phi(q) S / phi(q) n against z, the output of the model's own "
    "heads (hook_z); lengths over tokens and heads, mean over layers. 0 is perfect, 1 is what an output of zero has.";
constexpr const char* kCosineTip = "Cosine of read-out and z, mean over tokens, heads and layers. 1 is perfect.";
constexpr std::array<const char*, 6> kTips{
    "Feature map of linear attention. Hover over a row for its formula; click it to bring its curve out.",
    "Whether phi sees keys and queries before or after rotary embedding, that is without or with their positions.",
    "Width of phi(x); a state holds features x head_dim numbers.",
    kErrorTip,
    kCosineTip,
    "Fraction of read-outs whose denominator vanished, and which were left at zero."};

// One hue a phi; before rotary embedding a fainter one.
ImU32 colour_of(const PhiFidelity& row) {
    const auto& all = all_phi();
    const auto i = static_cast<float>(std::find(all.begin(), all.end(), row.kind) - all.begin());
    const ImU32 colour = ImColor::HSV(0.03f + i / static_cast<float>(all.size()), 0.55f, 0.95f);
    return row.rotary ? colour : with_alpha(colour, 0.6f);
}

std::string name_of(const PhiFidelity& row) {
    return display_name(row.kind) + (row.rotary ? ", after rotary" : ", before rotary");
}

bool is_far(const PhiFidelity& row) { return row.relative_error > 5; }

double value_of(const PhiFidelity& row, int column) {
    switch (column) {
        case 1:
            return row.rotary ? 1 : 0;
        case 2:
            return static_cast<double>(row.features);
        case 3:
            return row.relative_error;
        case 4:
            return row.cosine;
        default:
            return row.masked;
    }
}

}  // namespace

PhiRankingSettings PhiPanel::settings() const {
    PhiRankingSettings s = asked_;
    if (!learned_) std::erase(s.kinds, PhiKind::hedgehog);
    if (keys_ != 0) s.rotary = {keys_ == 2 ? 1 : 0};
    return s;
}

void PhiPanel::draw_settings(Frame& frame) {
    static const std::string kKeys[] = {"Both", "Before", "After"};
    ImGui::AlignTextToFramePadding();
    ImGui::TextUnformatted("Rotary");
    tooltip(kTips[1]);
    ImGui::SameLine();
    segmented("keys", kKeys, keys_, 0, {}, kTips[1]);
    flow(8 * em());
    ImGui::Checkbox("learned phi", &learned_);
    tooltip(
        "Hedgehog too: a map for every head is fitted first, on other documents than are compared on. Most of the "
        "time goes there. It is kept beside the sidecar, unless the one kept there learned from more texts.");
    const auto whole = [](const char* label, int64_t& value, int64_t low, int64_t high, const char* tip) {
        flow(4 * em() + ImGui::GetStyle().ItemInnerSpacing.x + ImGui::CalcTextSize(label).x);
        ImGui::SetNextItemWidth(4 * em());
        int shown = static_cast<int>(value);
        if (ImGui::InputInt(label, &shown, 0)) value = std::clamp<int64_t>(shown, low, high);
        tooltip(tip);
    };
    ImGui::BeginDisabled(!learned_);
    whole("texts", asked_.hedgehog_steps, 1, 100'000, "Sequences of 128 tokens that the learned phi is fitted on.");
    ImGui::EndDisabled();
    whole("tokens", asked_.held_out_tokens, 128, 1 << 20, "Tokens of held-out text that all are compared on.");
    const auto& view = frame.snapshot.phi_ranking;
    const bool ready = frame.snapshot.model->phase == Phase::ready, running = view && view->phase == Phase::working;
    flow(button_width("Rank"));
    ImGui::BeginDisabled(!ready || running);
    if (ImGui::Button("Rank")) frame.submit(command::RankPhi{settings()});
    ImGui::EndDisabled();
    tooltip(ready ? "In the background; everything else stays usable." : "The model has to be loaded first.");
}

void PhiPanel::draw_progress(Frame& frame, const PhiRankingView& view) const {
    if (view.phase == Phase::working) {
        char text[200];
        std::snprintf(text, sizeof text, "%.0f %%  %s", 100 * view.progress, view.stage.c_str());
        progress_bar(static_cast<float>(view.progress), text,
                     ImGui::GetContentRegionAvail().x - button_width("Cancel") - ImGui::GetStyle().ItemSpacing.x);
        ImGui::SameLine();
        if (ImGui::Button("Cancel")) cancel_running(frame, kJob);
    } else if (view.phase == Phase::failed) {
        ImGui::PushStyleColor(ImGuiCol_Text, palette::bad);
        ImGui::TextWrapped("%s", view.error.c_str());
        ImGui::PopStyleColor();
    } else if (view.phase == Phase::absent) {
        small_label("Cancelled: what had been compared is shown.", palette::warning);
    }
}

// Of the values; an error far above all others (that of S / t, which has no scale) would flatten those, and is named
// instead of drawn.
std::pair<double, double> PhiPanel::range(const PhiRankingView& view) const {
    double low = measure_ == 0 ? 0 : 1, high = 1;
    for (const PhiFidelity& row : view.rows) {
        if (measure_ == 0 && is_far(row)) continue;
        for (const double v : measure_ == 0 ? row.layer_error : row.layer_cosine)
            low = std::min(low, v), high = std::max(high, v);
    }
    return {measure_ == 0 ? 0 : low - 0.05, high + 0.05};
}

void PhiPanel::draw_plot(const PhiRankingView& view, ImVec2 size) const {
    if (!ImPlot::BeginPlot("##curves", size, ImPlotFlags_NoMenus | ImPlotFlags_NoBoxSelect | ImPlotFlags_NoLegend))
        return;
    const auto layers = static_cast<int>(view.rows.front().layer_error.size());
    ImPlot::SetupAxes("layer", measure_ == 0 ? "relative error" : "cosine");
    ImPlot::SetupAxisLimits(ImAxis_X1, -0.5, layers - 0.5, ImPlotCond_Always);
    const auto [low, high] = range(view);
    ImPlot::SetupAxisLimits(ImAxis_Y1, low, high, ImPlotCond_Always);
    std::vector<double> x(static_cast<size_t>(layers));
    std::iota(x.begin(), x.end(), 0.0);
    if (measure_ == 0) {
        const double zero[2] = {1, 1}, ends[2] = {-0.5, layers - 0.5};
        ImPlot::PlotLine("an output of zero", ends, zero, 2,
                         {ImPlotProp_LineColor, ImGui::ColorConvertU32ToFloat4(with_alpha(palette::text, 0.5f))});
        ImPlot::PlotText("an output of zero", layers - 0.5, 1,
                         {-0.5f * ImGui::CalcTextSize("an output of zero").x - 4, 0.6f * em()});
    }
    const auto far = std::find_if(view.rows.begin(), view.rows.end(), is_far);
    if (measure_ == 0 && far != view.rows.end()) {
        const std::string text = display_name(far->kind) + ": far above";
        ImPlot::PlotText(text.c_str(), -0.5, high, {0.5f * ImGui::CalcTextSize(text.c_str()).x + 4, 0.6f * em()});
    }
    for (const PhiFidelity& row : view.rows) {
        const auto& y = measure_ == 0 ? row.layer_error : row.layer_cosine;
        const bool out = any_chosen_ && chosen(row);
        const ImU32 colour = any_chosen_ && !out ? with_alpha(colour_of(row), 0.3f) : colour_of(row);
        ImPlot::PlotLine(name_of(row).c_str(), x.data(), y.data(), layers,
                         {ImPlotProp_LineColor, ImGui::ColorConvertU32ToFloat4(colour), ImPlotProp_LineWeight,
                          out          ? 3.0f
                          : row.rotary ? 2.0f
                                       : 1.2f});
    }
    if (ImPlot::IsPlotHovered()) {
        const ImPlotPoint mouse = ImPlot::GetPlotMousePos();
        const auto layer = static_cast<size_t>(std::clamp<double>(std::round(mouse.x), 0, layers - 1));
        const PhiFidelity* nearest = nullptr;
        float distance = 2 * em();
        for (const PhiFidelity& row : view.rows) {
            const double y = (measure_ == 0 ? row.layer_error : row.layer_cosine)[layer];
            const float d = std::abs(ImPlot::PlotToPixels(static_cast<double>(layer), y).y - ImGui::GetMousePos().y);
            if (d < distance) distance = d, nearest = &row;
        }
        if (nearest && ImGui::BeginTooltip()) {
            ImGui::TextUnformatted(name_of(*nearest).c_str());
            ImGui::Text("layer %zu: error %.3f, cosine %.3f", layer, nearest->layer_error[layer],
                        nearest->layer_cosine[layer]);
            ImGui::EndTooltip();
        }
    }
    ImPlot::EndPlot();
}

std::vector<size_t> PhiPanel::sorted(const PhiRankingView& view) const {
    std::vector<size_t> order(view.rows.size());
    std::iota(order.begin(), order.end(), size_t{0});
    std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) {
        const PhiFidelity &x = view.rows[descending_ ? b : a], &y = view.rows[descending_ ? a : b];
        if (sort_column_ == 0) return display_name(x.kind) < display_name(y.kind);
        return value_of(x, sort_column_) < value_of(y, sort_column_);
    });
    return order;
}

void PhiPanel::draw_table(const PhiRankingView& view, ImVec2 size) {
    // All columns where there is room for them; else as wide as they are, to be scrolled.
    const bool roomy = ImGui::GetContentRegionAvail().x >= 25 * em();
    const ImGuiTableFlags flags =
        ImGuiTableFlags_RowBg | ImGuiTableFlags_BordersInnerH | ImGuiTableFlags_ScrollY | ImGuiTableFlags_Sortable |
        (roomy ? ImGuiTableFlags_SizingStretchProp : ImGuiTableFlags_ScrollX | ImGuiTableFlags_SizingFixedFit);
    constexpr std::array<float, 6> kShares{7, 3.5f, 4.4f, 3.8f, 3.6f, 4};
    ImGui::PushStyleVar(ImGuiStyleVar_CellPadding, {0.2f * em(), ImGui::GetStyle().CellPadding.y});
    const bool drawn = ImGui::BeginTable("ranking", static_cast<int>(kColumns.size()), flags, size);
    ImGui::PopStyleVar();
    if (!drawn) return;
    ImGui::TableSetupScrollFreeze(roomy ? 0 : 1, 1);
    for (size_t c = 0; c < kColumns.size(); ++c)
        ImGui::TableSetupColumn(kColumns[c], c == 3 ? ImGuiTableColumnFlags_DefaultSort : 0,
                                roomy    ? kShares[c]
                                : c == 0 ? 7 * em()
                                         : 0);
    ImGui::TableNextRow(ImGuiTableRowFlags_Headers);
    for (size_t c = 0; c < kColumns.size(); ++c) {
        ImGui::TableSetColumnIndex(static_cast<int>(c));
        ImGui::PushID(static_cast<int>(c));
        ImGui::TableHeader(kColumns[c]);
        ImGui::PopID();
        tooltip(kTips[c]);
    }
    ImGuiTableSortSpecs* specs = ImGui::TableGetSortSpecs();
    if (specs && specs->SpecsDirty && specs->SpecsCount > 0) {
        sort_column_ = specs->Specs[0].ColumnIndex;
        descending_ = specs->Specs[0].SortDirection == ImGuiSortDirection_Descending;
        specs->SpecsDirty = false;
    }
    for (const size_t at : sorted(view)) {
        const PhiFidelity& row = view.rows[at];
        ImGui::TableNextRow();
        ImGui::TableNextColumn();
        const ImVec2 corner = ImGui::GetCursorScreenPos();
        const float side = 0.55f * em(), top = corner.y + (ImGui::GetTextLineHeight() - side) / 2;
        ImGui::GetWindowDrawList()->AddRectFilled({corner.x, top}, {corner.x + side, top + side}, colour_of(row), 2);
        ImGui::SetCursorPosX(ImGui::GetCursorPosX() + 0.9f * em());
        const bool is_chosen = any_chosen_ && chosen(row);
        const std::string label = display_name(row.kind) + (row.rotary ? "##after" : "##before");
        if (ImGui::Selectable(label.c_str(), is_chosen, ImGuiSelectableFlags_SpanAllColumns)) {
            any_chosen_ = !is_chosen;
            chosen_kind_ = row.kind, chosen_rotary_ = row.rotary;
        }
        tooltip(formula(row.kind));
        const auto cell = [](const std::string& text) {
            ImGui::TableNextColumn();
            ImGui::TextUnformatted(text.c_str());
        };
        cell(row.rotary ? "after" : "before");
        cell(std::to_string(row.features));
        cell(formatted("%.3f", row.relative_error));
        cell(formatted("%.3f", row.cosine));
        cell(formatted("%.2g", row.masked));
    }
    ImGui::EndTable();
}

void PhiPanel::draw(Frame& frame) {
    draw_settings(frame);
    const auto& view = frame.snapshot.phi_ranking;
    if (!view) {
        empty_state("No feature maps ranked yet",
                    "Press Rank: every phi's linear attention is compared with the model's own attention on held-out "
                    "text, layer by layer. With a learned phi that takes some minutes, without one less than one.");
        return;
    }
    draw_progress(frame, *view);
    if (view->rows.empty()) {
        if (view->phase == Phase::working) ImGui::TextDisabled("Rows appear here as texts are compared.");
        return;
    }
    static const std::string kMeasures[] = {"Relative error", "Cosine"};
    segmented("measure", kMeasures, measure_, 0, {}, measure_ == 0 ? kErrorTip : kCosineTip);
    const std::string about = std::to_string(view->rows.front().tokens) + " tokens";
    flow(ImGui::CalcTextSize(about.c_str()).x);
    ImGui::AlignTextToFramePadding();
    ImGui::TextDisabled("%s", about.c_str());
    tooltip(("Of " + view->settings.corpus + ", held out; the first four of each sequence are left out.").c_str());
    const float room = ImGui::GetContentRegionAvail().y;
    draw_plot(*view, {-1, std::max(8.5f * em(), 0.47f * room)});
    draw_table(*view, {0, 0});
}

std::vector<std::pair<std::string, std::function<void(Frame&)>>> PhiPanel::actions() {
    return {{"Rank feature maps", [this](Frame& frame) {
                 frame.ui.show_panel = title();
                 frame.submit(command::RankPhi{settings()});
             }}};
}

}  // namespace savepoint::views
