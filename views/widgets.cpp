#include "views/widgets.h"

#include <imgui_internal.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <set>

#include "views/palette.h"

namespace savepoint::views {
namespace {

ImVec4 colour4(ImU32 colour) { return ImGui::ColorConvertU32ToFloat4(colour); }

std::string printed(const char* format, double value) {
    char buffer[64];
    std::snprintf(buffer, sizeof buffer, format, value);
    return buffer;
}

std::set<ImWchar>& missing() {
    static std::set<ImWchar> code_points;  // GUI thread only
    return code_points;
}

bool has_glyph(ImWchar code_point) {
    if (code_point >= 0x20 && code_point < 0x7f) return true;
    return ImGui::GetFont()->IsGlyphInFont(code_point);
}

// Joiners, marks of direction and variation selectors are invisible by nature: fonts often lack them.
bool draws_nothing(unsigned int c) {
    return (c >= 0x200b && c <= 0x200f) || (c >= 0x202a && c <= 0x202e) || (c >= 0xfe00 && c <= 0xfe0f) || c == 0xfeff;
}

void wrapped(const char* text, float width) {
    ImGui::PushTextWrapPos(ImGui::GetCursorPosX() + width);
    ImGui::TextUnformatted(text);
    ImGui::PopTextWrapPos();
}

// As ImGui wraps it, but line by line, so that each can be centred.
std::vector<std::string> wrapped_lines(const char* text, float width) {
    std::vector<std::string> lines;
    const char* end = text + std::strlen(text);
    while (text < end) {
        const char* stop =
            std::max(ImGui::GetFont()->CalcWordWrapPosition(ImGui::GetFontSize(), text, end, width), text + 1);
        lines.emplace_back(text, stop);
        text = stop;
        while (text < end && *text == ' ') ++text;
    }
    return lines;
}

void candidate_bars(const TokenView& token) {
    const float em = ImGui::GetFontSize();
    ImDrawList* list = ImGui::GetWindowDrawList();
    for (const CandidateView& candidate : token.next) {
        const ImVec2 at = ImGui::GetCursorScreenPos();
        const float full = 8 * em, height = ImGui::GetTextLineHeight();
        const float width = std::max(1.0f, full * std::sqrt(std::clamp(candidate.probability, 0.0f, 1.0f)));
        list->AddRectFilled({at.x, at.y + 2}, {at.x + width, at.y + height - 1}, palette::accent_dim, 2);
        ImGui::TextUnformatted(printed("%6.2f %%", 100.0 * candidate.probability).c_str());
        ImGui::SameLine(0, 0);
        ImGui::SetCursorScreenPos({at.x + full + 0.6f * em, at.y});
        ImGui::TextUnformatted(visible(candidate.text).c_str());
    }
}

}  // namespace

void help_marker(const char* text) {
    ImGui::TextDisabled("(?)");
    tooltip(text);
}

void tooltip(const char* text) {
    if (!ImGui::IsItemHovered(ImGuiHoveredFlags_ForTooltip | ImGuiHoveredFlags_AllowWhenDisabled)) return;
    if (!ImGui::BeginTooltip()) return;
    wrapped(text, 26 * ImGui::GetFontSize());
    ImGui::EndTooltip();
}

bool empty_state(const char* headline, const char* advice, const char* button) {
    const ImVec2 room = ImGui::GetContentRegionAvail();
    const float width = std::max(40.0f, std::min(room.x - 16, 22 * ImGui::GetFontSize()));
    const ImVec2 size = ImGui::CalcTextSize(advice, nullptr, false, width);
    const float line = ImGui::GetTextLineHeightWithSpacing();
    const float height = 1.4f * line + size.y + (button ? 2.2f * line : 0);
    const float left = ImGui::GetCursorPosX() + std::max(0.0f, (room.x - width) / 2);
    ImGui::SetCursorPosY(ImGui::GetCursorPosY() + std::max(4.0f, 0.42f * (room.y - height)));
    const auto centred = [&](float item) { ImGui::SetCursorPosX(left + std::max(0.0f, (width - item) / 2)); };
    const float headline_width = std::min(width, ImGui::CalcTextSize(headline, nullptr, false, width).x);
    centred(headline_width);
    wrapped(headline, width);
    ImGui::Spacing();
    ImGui::PushStyleColor(ImGuiCol_Text, palette::text_dim);
    for (const std::string& line : wrapped_lines(advice, width)) {
        centred(ImGui::CalcTextSize(line.c_str()).x);
        ImGui::TextUnformatted(line.c_str());
    }
    ImGui::PopStyleColor();
    if (!button) return false;
    ImGui::Spacing();
    centred(ImGui::CalcTextSize(button, nullptr, true).x + 2 * ImGui::GetStyle().FramePadding.x);
    return ImGui::Button(button);
}

// What the user chose and knows: general.name in the file is often what a training run was called.
std::string model_name(const ModelView& model) {
    const std::string stem = std::filesystem::path(model.path).stem().string();
    return drawable(stem.empty() ? model.name : stem);
}

std::string format_bytes(double bytes) {
    if (std::isnan(bytes)) return "-";
    static const char* units[] = {"B", "kB", "MB", "GB", "TB"};
    int unit = 0;
    while (std::fabs(bytes) >= 999.5 && unit < 4) bytes /= 1000, ++unit;
    return printed(unit == 0 || std::fabs(bytes) >= 99.95 ? "%.0f "
                   : std::fabs(bytes) >= 9.995            ? "%.1f "
                                                          : "%.2f ",
                   bytes) +
           units[unit];
}

std::string formatted(const char* format, double value) {
    if (!std::isfinite(value)) return "-";
    char text[64];
    std::snprintf(text, sizeof text, format, value);
    return text;
}

std::string format_number(double value, int digits) {
    if (std::isnan(value)) return "-";
    char buffer[64];
    std::snprintf(buffer, sizeof buffer, "%.*g", digits, value);
    return buffer;
}

std::string format_duration(double seconds) {
    if (std::isnan(seconds)) return "-";
    if (seconds < 10) return printed("%.1f s", seconds);
    if (seconds < 60) return printed("%.0f s", seconds);
    char buffer[64];
    const auto whole = static_cast<long>(std::lround(seconds));
    if (whole < 3600)
        std::snprintf(buffer, sizeof buffer, "%ld min %02ld s", whole / 60, whole % 60);
    else
        std::snprintf(buffer, sizeof buffer, "%ld h %02ld min", whole / 3600, whole / 60 % 60);
    return buffer;
}

void colour_legend(const char* label, const char* low, const char* high, bool is_diverging) {
    const float em = ImGui::GetFontSize(), height = 0.55f * em;
    const float ends = ImGui::CalcTextSize(low).x + ImGui::CalcTextSize(high).x + 0.8f * em;
    const float room = ImGui::GetContentRegionAvail().x - ends, name = ImGui::CalcTextSize(label).x + em;
    const bool named = *label && room > name + 3 * em;  // a narrow panel has the bar and its ends only
    const float width = std::clamp(named ? room - name : room, 2 * em, 6 * em);
    ImGui::AlignTextToFramePadding();
    if (named) ImGui::TextDisabled("%s", label), ImGui::SameLine();
    ImGui::TextUnformatted(low);
    ImGui::SameLine(0, 0.4f * em);
    ImVec2 at = ImGui::GetCursorScreenPos();
    at.y += (ImGui::GetFrameHeight() - height) / 2;
    ImDrawList* list = ImGui::GetWindowDrawList();
    const auto colour = [&](float v) { return is_diverging ? diverging(v) : sequential(v); };
    constexpr int steps = 24;
    for (int i = 0; i < steps; ++i) {
        const float a = static_cast<float>(i) / steps, b = static_cast<float>(i + 1) / steps;
        list->AddRectFilledMultiColor({at.x + a * width, at.y}, {at.x + b * width, at.y + height}, colour(a), colour(b),
                                      colour(b), colour(a));
    }
    ImGui::Dummy({width, ImGui::GetFrameHeight()});
    ImGui::SameLine(0, 0.4f * em);
    ImGui::AlignTextToFramePadding();
    ImGui::TextUnformatted(high);
}

ImU32 anomaly_colour(float percentile) { return sequential(std::isnan(percentile) ? NAN : (percentile - 50) / 50); }

const char* const kAttentionMassTip =
    "Attention received (attention mass): the sum over all later tokens t of softmax(q_t K / sqrt(head_dim)) at this "
    "token, mean over layers and heads unless one head is shown. Unit: queries; 1 is all the attention that one later "
    "token pays. What a token pays to itself is left out. Caches keep the tokens that have most of it (H2O, Zhang et "
    "al. 2023).";

float attention_mass_at(const Snapshot& snapshot, int64_t position) {
    const auto& view = snapshot.attention_mass;
    const bool known =
        view && snapshot.path && view->thought == snapshot.path->thought && position >= 0 && position < view->tokens;
    return known ? view->mean[static_cast<size_t>(position)] : NAN;
}

void token_tooltip(const TokenView& token, float attention_mass) {
    if (!ImGui::BeginTooltip()) return;
    const float em = ImGui::GetFontSize();
    ImGui::TextUnformatted(visible(token.text).c_str());
    ImGui::SameLine();
    ImGui::TextDisabled("token %d at position %lld, thought %lld%s", token.id, static_cast<long long>(token.position),
                        static_cast<long long>(token.thought), token.prompt ? ", prompt" : "");
    if (token.edited) ImGui::TextColored(colour4(palette::edited), "its state was edited by an intervention");
    if (token.decoded)
        ImGui::TextColored(colour4(palette::edge(EdgeKind::decoded)), "its keys and values are decoded from z");
    ImGui::Spacing();
    const auto fact = [&](const char* name, const std::string& value) {
        ImGui::TextDisabled("%s", name);
        ImGui::SameLine(9 * em);
        ImGui::TextUnformatted(value.c_str());
    };
    const double p = std::exp(static_cast<double>(token.log_probability));
    if (!std::isnan(token.log_probability))
        fact("log-probability", printed("%.3f nats", token.log_probability) + printed("  (p = %.3g)", p));
    if (!std::isnan(token.anomaly)) fact("anomaly", printed("percentile %.1f", token.anomaly));
    if (token.marked)
        ImGui::TextColored(colour4(palette::bad), "marked: as unusual as the threshold set under Anomaly asks for");
    if (!std::isnan(token.hidden_fvu))
        fact("reconstruction", printed("FVU %.4f of the hidden states", token.hidden_fvu));
    if (!std::isnan(attention_mass)) fact("attention received", printed("%.3f queries", attention_mass));
    if (!std::isnan(token.entropy)) fact("next-token entropy", printed("%.2f nats", token.entropy));
    if (!token.next.empty()) {
        ImGui::Spacing();
        ImGui::TextDisabled("most likely next (bar: square root of p)");
        candidate_bars(token);
    }
    ImGui::EndTooltip();
}

std::string drawable(const std::string& utf8) {
    std::string out;
    const char *at = utf8.c_str(), *end = at + utf8.size();
    while (at < end) {
        unsigned int c = 0;
        const int length = std::max(1, ImTextCharFromUtf8(&c, at, end));
        if (c == '\n' || c == '\t' || has_glyph(static_cast<ImWchar>(c))) {
            out.append(at, at + length);
        } else if (!draws_nothing(c)) {
            if (c >= 0xa0) missing().insert(static_cast<ImWchar>(c));
            char buffer[16];
            std::snprintf(buffer, sizeof buffer, "\\u{%X}", c);
            out += buffer;
        }
        at += length;
    }
    return out;
}

std::vector<ImWchar> take_missing_code_points() {
    std::vector<ImWchar> all(missing().begin(), missing().end());
    missing().clear();
    return all;
}

std::string visible(const std::string& token_text) {
    std::string out;
    for (const char c : drawable(token_text)) {
        if (c == ' ')
            out += "\xC2\xB7";
        else if (c == '\n')
            out += "\\n";
        else if (c == '\t')
            out += "\\t";
        else
            out += c;
    }
    return out;
}

void property(const char* name, const std::string& value, const char* help) {
    ImGui::TableNextRow();
    ImGui::TableNextColumn();
    ImGui::TextDisabled("%s", name);
    if (help) tooltip(help);
    ImGui::TableNextColumn();
    ImGui::PushTextWrapPos(0);
    ImGui::TextUnformatted(value.c_str());
    ImGui::PopTextWrapPos();
    if (help) tooltip(help);
}

void progress_bar(float fraction, const std::string& text, float width) {
    const float height = ImGui::GetFrameHeight();
    const ImVec2 at = ImGui::GetCursorScreenPos();
    if (width <= 0) width = ImGui::GetContentRegionAvail().x + width;
    const ImVec2 end = {at.x + width, at.y + height};
    ImDrawList* list = ImGui::GetWindowDrawList();
    const float inset = 0.18f * height;
    list->AddRectFilled({at.x, at.y + inset}, {end.x, end.y - inset}, palette::raised, 3);
    const float filled = width * std::clamp(fraction, 0.0f, 1.0f);
    if (filled > 1) list->AddRectFilled({at.x, at.y + inset}, {at.x + filled, end.y - inset}, palette::accent_dim, 3);
    const ImVec2 size = ImGui::CalcTextSize(text.c_str());
    const ImVec4 clip = {at.x, at.y, end.x, end.y};
    list->AddText(nullptr, 0, {at.x + std::max(6.0f, (width - size.x) / 2), at.y + (height - size.y) / 2},
                  palette::text, text.c_str(), nullptr, 0, &clip);
    ImGui::Dummy({width, height});
}

bool icon_button(const char* id, const char* tip, void (*draw)(ImDrawList*, ImVec2, float, ImU32)) {
    const float side = ImGui::GetFrameHeight();
    const ImVec2 at = ImGui::GetCursorScreenPos();
    const bool pressed = ImGui::InvisibleButton(id, {side, side});
    ImDrawList* list = ImGui::GetWindowDrawList();
    const bool hovered = ImGui::IsItemHovered();
    if (hovered) list->AddRectFilled(at, {at.x + side, at.y + side}, palette::raised, 4);
    draw(list, {at.x + side / 2, at.y + side / 2}, 0.26f * side, hovered ? palette::text : palette::text_dim);
    tooltip(tip);
    return pressed;
}

const char* edge_name(EdgeKind kind) {
    switch (kind) {
        case EdgeKind::root:
            return "root";
        case EdgeKind::continuation:
            return "continuation";
        case EdgeKind::intervention:
            return "intervention";
        case EdgeKind::counterfactual:
            return "counterfactual";
        case EdgeKind::merge:
            return "merge";
        case EdgeKind::decoded:
            return "decoded from z";
    }
    return "?";
}

void draw_pennant(ImDrawList* list, ImVec2 corner, float side) {
    const float rim = side + 2.5f;
    list->AddTriangleFilled({corner.x - 1, corner.y - 1}, {corner.x + rim, corner.y - 1},
                            {corner.x - 1, corner.y + rim}, palette::background);
    list->AddTriangleFilled(corner, {corner.x + side, corner.y}, {corner.x, corner.y + side}, palette::bad);
}

void draw_star(ImDrawList* list, ImVec2 centre, float radius, ImU32 colour, bool filled) {
    ImVec2 points[10];
    for (int i = 0; i < 10; ++i) {
        const float angle = -IM_PI / 2 + i * IM_PI / 5, r = i % 2 ? 0.45f * radius : radius;
        points[i] = {centre.x + r * std::cos(angle), centre.y + r * std::sin(angle)};
    }
    if (filled)
        list->AddConcavePolyFilled(points, 10, colour);
    else
        list->AddPolyline(points, 10, colour, 1.2f, ImDrawFlags_Closed);
}

}  // namespace savepoint::views
