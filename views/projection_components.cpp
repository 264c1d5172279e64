#include "views/projection_components.h"

#include <algorithm>
#include <cmath>
#include <cstdio>

#include "views/chart.h"
#include "views/palette.h"
#include "views/widgets.h"

namespace savepoint::views {
namespace {

std::string percent(float fraction) {
    char text[24];
    std::snprintf(text, sizeof text, fraction < 0.0995f ? "%.1f %%" : "%.0f %%", 100 * fraction);
    return text;
}

struct Plot {
    ImVec2 low, high;
    float top = 1;  // of the bars' scale
    float x_of(float i, size_t count) const { return low.x + (high.x - low.x) * i / static_cast<float>(count); }
    float y_of(float share) const { return high.y - (high.y - low.y) * share; }
};

// Bars are of the left scale (up to the largest), the line of the right one (up to 100 %).
void draw_scree(ImDrawList* draw, const Plot& plot, const ProjectionMap& map, int chosen) {
    const size_t count = map.components.size();
    for (const float share : {0.0f, 0.5f, 1.0f}) {
        const float y = plot.y_of(share);
        draw->AddLine({plot.low.x, y}, {plot.high.x, y}, with_alpha(palette::border, 0.7f));
        small_text(draw, {plot.low.x - 4, y - small_height() / 2}, palette::accent, percent(share * plot.top), 1);
        small_text(draw, {plot.high.x + 4, y - small_height() / 2}, palette::edited, percent(share));
    }
    std::vector<ImVec2> line;
    float sum = 0;
    for (size_t i = 0; i < count; ++i) {
        const float left = plot.x_of(static_cast<float>(i), count), right = plot.x_of(static_cast<float>(i + 1), count);
        const float gap = right - left > 5 ? 1.0f : 0;
        const ImU32 colour = static_cast<int>(i) == chosen ? palette::text : palette::accent;
        draw->AddRectFilled({left + gap, plot.y_of(map.components[i].explained / plot.top)}, {right - gap, plot.high.y},
                            colour);
        sum += map.components[i].explained;
        line.push_back({(left + right) / 2, plot.y_of(std::min(1.0f, sum))});
    }
    draw->AddPolyline(line.data(), static_cast<int>(line.size()), palette::edited, 1.5f);
    for (const ImVec2 at : line) draw->AddCircleFilled(at, 2, palette::edited);
    const int64_t step = label_step(static_cast<int64_t>(count), (plot.high.x - plot.low.x) / static_cast<float>(count),
                                    small_width("00") + 4);
    for (size_t i = 0; i < count; ++i)
        if (i == 0 || (static_cast<int64_t>(i) + 1) % step == 0)
            small_text(draw, {plot.x_of(static_cast<float>(i) + 0.5f, count), plot.high.y + 2}, palette::text_dim,
                       std::to_string(i + 1), 0.5f);
}

// Squared loadings by layer, as bars.
void draw_shares(const ProjectionMap& map, const ProjectionComponent& component) {
    if (component.share.size() < 2) return;
    small_label("by layer", palette::text_dim);
    tooltip("How much of this direction lies in each layer (group): the sum of its squared loadings there.");
    const float width = ImGui::GetContentRegionAvail().x, height = 2.6f * em();
    const ImVec2 at = ImGui::GetCursorScreenPos();
    auto* draw = ImGui::GetWindowDrawList();
    const float most = *std::max_element(component.share.begin(), component.share.end());
    const auto count = static_cast<float>(component.share.size());
    ImGui::InvisibleButton("shares", {width, height});
    const float x = ImGui::GetMousePos().x;
    for (size_t i = 0; i < component.share.size(); ++i) {
        const float left = at.x + width * static_cast<float>(i) / count,
                    right = at.x + width * static_cast<float>(i + 1) / count;
        const bool over = ImGui::IsItemHovered() && x >= left && x < right;
        draw->AddRectFilled({left + 0.5f, at.y + height * (1 - component.share[i] / std::max(most, 1e-9f))},
                            {right - 0.5f, at.y + height}, over ? palette::text : palette::accent);
        if (over && i < map.parts.size() && ImGui::BeginTooltip()) {
            ImGui::Text("%s: %s of the squared loadings", map.parts[i].c_str(), percent(component.share[i]).c_str());
            ImGui::EndTooltip();
        }
    }
    draw->AddLine({at.x, at.y + height}, {at.x + width, at.y + height}, palette::border);
}

void draw_top(const ProjectionComponent& component) {
    small_label("largest loadings", palette::text_dim);
    tooltip("The numbers that weigh most in this direction, which has length 1: layer (group), number in it, weight.");
    auto* draw = ImGui::GetWindowDrawList();
    const float most = component.top.empty() ? 1 : std::fabs(component.top[0].second);
    for (const auto& [name, weight] : component.top) {
        const ImVec2 at = ImGui::GetCursorScreenPos();
        const float width = ImGui::GetContentRegionAvail().x,
                    bar = 0.3f * width * std::fabs(weight) / std::max(most, 1e-9f);
        draw->AddRectFilled({at.x + width - bar, at.y + 2}, {at.x + width, at.y + small_height()},
                            with_alpha(weight < 0 ? palette::edited : palette::accent, 0.5f));
        small_text(draw, at, palette::text, name);
        char text[24];
        std::snprintf(text, sizeof text, "%+.3f", weight);
        small_text(draw, {at.x + width - 2, at.y}, palette::text, text, 1);
        ImGui::Dummy({width, small_height() + 1});
    }
}

}  // namespace

void draw_components(const ProjectionMap& map, int& chosen, ImVec2 size) {
    if (!ImGui::BeginChild("components", size)) return ImGui::EndChild();
    if (map.components.empty()) {
        small_label("no components yet", palette::text_dim);
        return ImGui::EndChild();
    }
    chosen = std::clamp(chosen, 0, static_cast<int>(map.components.size()) - 1);
    section("Principal components",
            map.randomized ? "Of the same points, by a randomised PCA (Halko et al. 2011): the leading components of a "
                             "large table. Bars: fraction of the variance of each. Line: cumulative."
                           : "Of the same points. Bars: fraction of the variance that each explains. Line: cumulative. "
                             "Where the bars level off, the rest is noise or needs more dimensions.");
    const ImVec2 at = ImGui::GetCursorScreenPos();
    const ImVec2 room = {ImGui::GetContentRegionAvail().x,
                         std::clamp(0.42f * ImGui::GetContentRegionAvail().y, 6 * em(), 14 * em())};
    ImGui::InvisibleButton("scree", room);
    Plot plot{{at.x + small_width("99.9 %") + 6, at.y + small_height() / 2},
              {at.x + room.x - small_width("100 %") - 6, at.y + room.y - small_height() - 4},
              std::max(1e-6f, map.components[0].explained)};
    const size_t count = map.components.size();
    const int over = static_cast<int>(
        std::floor((ImGui::GetMousePos().x - plot.low.x) / (plot.high.x - plot.low.x) * static_cast<float>(count)));
    const bool hit = ImGui::IsItemHovered() && over >= 0 && over < static_cast<int>(count);
    if (hit && ImGui::IsItemClicked()) chosen = over;
    draw_scree(ImGui::GetWindowDrawList(), plot, map, chosen);
    if (hit && ImGui::BeginTooltip()) {
        float sum = 0;
        for (int i = 0; i <= over; ++i) sum += map.components[static_cast<size_t>(i)].explained;
        ImGui::Text("component %d: %s of the variance", over + 1,
                    percent(map.components[static_cast<size_t>(over)].explained).c_str());
        ImGui::Text("the first %d together: %s", over + 1, percent(sum).c_str());
        ImGui::TextDisabled("click: its loadings");
        ImGui::EndTooltip();
    }
    const ProjectionComponent& component = map.components[static_cast<size_t>(chosen)];
    ImGui::AlignTextToFramePadding();
    ImGui::Text("PC%d, %s", chosen + 1, percent(component.explained).c_str());
    ImGui::SameLine();
    if (ImGui::ArrowButton("##previous", ImGuiDir_Left)) chosen = std::max(0, chosen - 1);
    ImGui::SameLine(0, 2);
    if (ImGui::ArrowButton("##next", ImGuiDir_Right)) chosen = std::min(static_cast<int>(count) - 1, chosen + 1);
    draw_shares(map, component);
    draw_top(component);
    ImGui::EndChild();
}

}  // namespace savepoint::views
