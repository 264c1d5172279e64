#include "views/injection_plot.h"

#include <implot.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <string>
#include <vector>

#include "views/chart.h"
#include "views/palette.h"
#include "views/widgets.h"

namespace savepoint::views {
namespace {

ImU32 colour_of(const ScoreCurve& curve) {
    if (curve.name == "state") return palette::accent;
    return curve.name == "activation" ? palette::warning : palette::good;
}

std::string label_of(const ScoreCurve& curve) {
    return curve.name == "log_probability" ? "log-probability" : curve.name;
}

const std::vector<double>& values_of(const ScoreCurve& curve, InjectionMeasure measure) {
    return measure == InjectionMeasure::mean ? curve.mean : curve.above;
}

void shade_injected(const InjectionCurves& injection) {
    const ImPlotRect limits = ImPlot::GetPlotLimits();
    const ImVec2 low = ImPlot::PlotToPixels(-0.5, limits.Y.Max),
                 high = ImPlot::PlotToPixels(static_cast<double>(injection.injected) - 0.5, limits.Y.Min);
    ImPlot::PushPlotClipRect();
    ImPlot::GetPlotDrawList()->AddRectFilled(low, high, with_alpha(palette::bad, 0.15f));
    ImPlot::PopPlotClipRect();
}

void position_tooltip(const InjectionCurves& injection, InjectionMeasure measure) {
    if (!ImPlot::IsPlotHovered() || !ImGui::BeginTooltip()) return;
    const auto count = static_cast<int64_t>(injection.curves.front().mean.size());
    const auto at = std::clamp<int64_t>(std::llround(ImPlot::GetPlotMousePos().x) - injection.first, 0, count - 1);
    ImGui::Text("token %+lld", static_cast<long long>(at + injection.first));
    for (const ScoreCurve& curve : injection.curves)
        ImGui::Text("%s: %.2f, AUROC %.2f", label_of(curve).c_str(), values_of(curve, measure)[static_cast<size_t>(at)],
                    curve.auroc[static_cast<size_t>(at)]);
    ImGui::EndTooltip();
}

}  // namespace

void draw_injection_plot(const InjectionCurves& injection, InjectionMeasure measure, ImVec2 size) {
    if (!ImPlot::BeginPlot("##injection", size, ImPlotFlags_NoMenus | ImPlotFlags_NoBoxSelect | ImPlotFlags_NoLegend))
        return;
    const bool mean = measure == InjectionMeasure::mean;
    const auto count = injection.curves.front().mean.size();
    const double first = static_cast<double>(injection.first), last = first + static_cast<double>(count) - 1;
    const double passing = mean ? 1 : 0.05;
    double low = 0, high = mean ? 1.2 : 1;
    for (const ScoreCurve& curve : injection.curves)
        for (const double y : values_of(curve, measure)) low = std::min(low, y), high = std::max(high, y);
    const double margin = 0.05 * (high - low);
    ImPlot::SetupAxes("tokens from the first injected one", mean ? "mean score" : "texts above");
    ImPlot::SetupAxisLimits(ImAxis_X1, first - 0.5, last + 0.5, ImPlotCond_Always);
    ImPlot::SetupAxisLimits(ImAxis_Y1, low - margin, high + margin, ImPlotCond_Always);
    shade_injected(injection);
    const double ends[2] = {first - 0.5, last + 0.5}, height[2] = {passing, passing};
    ImPlot::PlotLine("95th percentile", ends, height, 2,
                     {ImPlotProp_LineColor, ImGui::ColorConvertU32ToFloat4(with_alpha(palette::text, 0.5f))});
    std::vector<double> x(count);
    std::iota(x.begin(), x.end(), first);
    for (const ScoreCurve& curve : injection.curves)
        ImPlot::PlotLine(
            curve.name.c_str(), x.data(), values_of(curve, measure).data(), static_cast<int>(count),
            {ImPlotProp_LineColor, ImGui::ColorConvertU32ToFloat4(colour_of(curve)), ImPlotProp_LineWeight, 2.0f});
    position_tooltip(injection, measure);
    ImPlot::EndPlot();
}

void draw_injection_table(const InjectionCurves& injection) {
    constexpr ImGuiTableFlags flags = ImGuiTableFlags_SizingFixedFit | ImGuiTableFlags_NoPadOuterX;
    if (!ImGui::BeginTable("delays", 4, flags)) return;
    constexpr const char* kHeads[] = {"score", "passes", "during", "end"};
    constexpr const char* kTips[] = {
        "By the detector of the default choice at each position (state and activation of the middle layer), and the "
        "token's negative log-probability.",
        "Tokens from the first injected one to the first at which the mean score of injected texts is above the 95th "
        "percentile of normal texts at the same position.",
        "Fraction of injected texts above that percentile at the last injected token; 0.05 is chance.",
        "The same at the end of the text."};
    ImGui::TableNextRow();
    for (int c = 0; c < 4; ++c) {
        ImGui::TableSetColumnIndex(c);
        ImGui::TextDisabled("%s", kHeads[c]);
        tooltip(kTips[c]);
    }
    const auto during = static_cast<size_t>(injection.injected - 1 - injection.first);
    for (const ScoreCurve& curve : injection.curves) {
        ImGui::TableNextRow();
        ImGui::TableNextColumn();
        swatch(colour_of(curve), label_of(curve));
        ImGui::TableNextColumn();
        ImGui::TextUnformatted(curve.delay < 0 ? "never" : ("at +" + std::to_string(curve.delay)).c_str());
        ImGui::TableNextColumn();
        ImGui::Text("%.2f", curve.above[during]);
        ImGui::TableNextColumn();
        ImGui::Text("%.2f", curve.above.back());
    }
    ImGui::EndTable();
    ImGui::PushTextWrapPos(0);
    ImGui::TextDisabled("0 is the mean of normal texts, 1 their 95th percentile; %lld tokens injected (shaded).",
                        static_cast<long long>(injection.injected));
    ImGui::PopTextWrapPos();
}

}  // namespace savepoint::views
