#include "app/theme.h"

#include <implot.h>

#include "views/palette.h"

namespace savepoint::app {
namespace {

using namespace views;

ImVec4 rgb(ImU32 colour, float alpha = 1) {
    ImVec4 c = ImGui::ColorConvertU32ToFloat4(colour);
    c.w = alpha;
    return c;
}

void set_sizes(ImGuiStyle& style) {
    style.WindowPadding = {10, 9};
    style.FramePadding = {8, 4};
    style.ItemSpacing = {8, 6};
    style.ItemInnerSpacing = {6, 4};
    style.CellPadding = {6, 3};
    style.IndentSpacing = 16;
    style.ScrollbarSize = 11;
    style.GrabMinSize = 10;
    style.WindowRounding = 6;
    style.ChildRounding = 5;
    style.FrameRounding = 4;
    style.PopupRounding = 6;
    style.ScrollbarRounding = 6;
    style.GrabRounding = 3;
    style.TabRounding = 4;
    style.TabMinWidthShrink = 48;  // all tabs of a dock stay in sight at 1280 x 800
    style.WindowBorderSize = 1;
    style.FrameBorderSize = 1;  // an empty box or field is seen for what it is
    style.TabBorderSize = 0;
    style.TabBarBorderSize = 1;
    style.TabBarOverlineSize = 2;
    style.DockingSeparatorSize = 3;
    style.SeparatorTextBorderSize = 1;
    style.SeparatorTextPadding = {0, 4};
    style.WindowMenuButtonPosition = ImGuiDir_Left;
    style.HoverStationaryDelay = 0.10f;
    style.HoverDelayShort = 0.12f;
    style.HoverDelayNormal = 0.35f;
    style.DisabledAlpha = 0.5f;
}

void set_surfaces(ImVec4* c) {
    c[ImGuiCol_Text] = rgb(palette::text);
    c[ImGuiCol_TextDisabled] = rgb(palette::text_dim);
    c[ImGuiCol_WindowBg] = rgb(palette::panel);
    c[ImGuiCol_ChildBg] = rgb(palette::panel, 0);
    c[ImGuiCol_PopupBg] = rgb(IM_COL32(23, 27, 34, 255), 0.985f);
    c[ImGuiCol_Border] = rgb(IM_COL32(63, 73, 88, 255));
    c[ImGuiCol_BorderShadow] = {0, 0, 0, 0};
    c[ImGuiCol_TitleBg] = c[ImGuiCol_TitleBgActive] = c[ImGuiCol_TitleBgCollapsed] = rgb(palette::background);
    c[ImGuiCol_MenuBarBg] = rgb(palette::background);
    c[ImGuiCol_DockingEmptyBg] = rgb(palette::background);
    c[ImGuiCol_DockingPreview] = rgb(palette::accent, 0.35f);
    c[ImGuiCol_ScrollbarBg] = {0, 0, 0, 0};
    c[ImGuiCol_ScrollbarGrab] = rgb(palette::border);
    c[ImGuiCol_ScrollbarGrabHovered] = rgb(IM_COL32(70, 81, 97, 255));
    c[ImGuiCol_ScrollbarGrabActive] = rgb(palette::text_dim);
    c[ImGuiCol_Separator] = rgb(palette::border);
    c[ImGuiCol_SeparatorHovered] = c[ImGuiCol_SeparatorActive] = rgb(palette::accent);
    c[ImGuiCol_ResizeGrip] = {0, 0, 0, 0};
    c[ImGuiCol_ResizeGripHovered] = c[ImGuiCol_ResizeGripActive] = rgb(palette::accent);
    c[ImGuiCol_ModalWindowDimBg] = {0.02f, 0.03f, 0.04f, 0.55f};
}

void set_controls(ImVec4* c) {
    c[ImGuiCol_FrameBg] = rgb(IM_COL32(36, 43, 53, 255));
    c[ImGuiCol_FrameBgHovered] = rgb(IM_COL32(45, 53, 65, 255));
    c[ImGuiCol_FrameBgActive] = rgb(IM_COL32(52, 61, 75, 255));
    c[ImGuiCol_Button] = rgb(IM_COL32(40, 47, 58, 255));
    c[ImGuiCol_ButtonHovered] = rgb(IM_COL32(56, 66, 81, 255));
    c[ImGuiCol_ButtonActive] = rgb(palette::accent_dim);
    c[ImGuiCol_CheckMark] = c[ImGuiCol_SliderGrabActive] = rgb(palette::accent);
    c[ImGuiCol_SliderGrab] = rgb(IM_COL32(98, 140, 200, 255));
    c[ImGuiCol_Header] = rgb(palette::accent_dim, 0.75f);
    c[ImGuiCol_HeaderHovered] = rgb(IM_COL32(52, 62, 77, 255));
    c[ImGuiCol_HeaderActive] = rgb(palette::accent_dim);
    c[ImGuiCol_Tab] = c[ImGuiCol_TabDimmed] = rgb(palette::background);
    c[ImGuiCol_TabHovered] = rgb(palette::raised);
    c[ImGuiCol_TabSelected] = c[ImGuiCol_TabDimmedSelected] = rgb(palette::panel);
    c[ImGuiCol_TabSelectedOverline] = rgb(palette::accent);
    c[ImGuiCol_TabDimmedSelectedOverline] = rgb(palette::border);
    c[ImGuiCol_TableHeaderBg] = rgb(palette::raised);
    c[ImGuiCol_TableBorderStrong] = c[ImGuiCol_TableBorderLight] = rgb(palette::border);
    c[ImGuiCol_TableRowBg] = {0, 0, 0, 0};
    c[ImGuiCol_TableRowBgAlt] = {1, 1, 1, 0.018f};
    c[ImGuiCol_TextSelectedBg] = rgb(palette::accent, 0.35f);
    c[ImGuiCol_TextLink] = c[ImGuiCol_NavCursor] = rgb(palette::accent);
    c[ImGuiCol_DragDropTarget] = rgb(palette::warning);
    c[ImGuiCol_PlotLines] = c[ImGuiCol_PlotHistogram] = rgb(palette::accent);
}

void set_plots(float scale) {
    if (!ImPlot::GetCurrentContext()) return;
    ImPlotStyle& style = ImPlot::GetStyle();
    style = ImPlotStyle();
    style.PlotPadding = {6 * scale, 6 * scale};
    style.LabelPadding = {4 * scale, 4 * scale};
    style.Colors[ImPlotCol_FrameBg] = {0, 0, 0, 0};
    style.Colors[ImPlotCol_PlotBg] = rgb(palette::background);
    style.Colors[ImPlotCol_PlotBorder] = rgb(palette::border);
    style.Colors[ImPlotCol_AxisGrid] = rgb(palette::border, 0.7f);
    style.Colors[ImPlotCol_AxisText] = rgb(palette::text_dim);
}

}  // namespace

void apply_theme(float font_size, float scale) {
    ImGuiStyle style;
    set_sizes(style);
    set_surfaces(style.Colors);
    set_controls(style.Colors);
    style.ScaleAllSizes(scale);
    style.FontSizeBase = font_size;
    style.FontScaleDpi = scale;
    style._NextFrameFontSizeBase = font_size;
    ImGui::GetStyle() = style;
    set_plots(scale);
}

}  // namespace savepoint::app
