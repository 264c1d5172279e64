#include "views/graph_panel.h"

#include <imgui_internal.h>
#include <imgui_stdlib.h>

#include <algorithm>
#include <cmath>
#include <cstdio>

#include "views/chart.h"
#include "views/palette.h"
#include "views/widgets.h"

namespace savepoint::views {
namespace {

constexpr EdgeKind kKinds[] = {EdgeKind::root,           EdgeKind::continuation, EdgeKind::intervention,
                               EdgeKind::counterfactual, EdgeKind::merge,        EdgeKind::decoded};

// Read on the badge, so that colour is not the only sign.
const char* letter(EdgeKind kind) {
    switch (kind) {
        case EdgeKind::root:
            return "R";
        case EdgeKind::continuation:
            return "C";
        case EdgeKind::intervention:
            return "I";
        case EdgeKind::counterfactual:
            return "X";
        case EdgeKind::merge:
            return "M";
        case EdgeKind::decoded:
            return "Z";
    }
    return "?";
}

void badge(ImDrawList* list, ImVec2 centre, float radius, EdgeKind kind) {
    const ImU32 colour = palette::edge(kind);
    list->AddCircleFilled(centre, radius, colour, 16);
    const float size = std::round(1.5f * radius);
    if (size < 7) return;
    const ImVec2 text = ImGui::GetFont()->CalcTextSizeA(size, FLT_MAX, 0, letter(kind));
    list->AddText(ImGui::GetFont(), size, {centre.x - text.x / 2, centre.y - text.y / 2}, readable_on(colour),
                  letter(kind));
}

std::string name_of(const ThoughtView& thought) {
    return thought.label.empty() ? drawable(thought.text) : drawable(thought.label);
}

void clipped_text(ImDrawList* list, float size, ImVec2 at, float width, ImU32 colour, const std::string& text) {
    ImGui::PushFont(nullptr, size / (ImGui::GetFontSize() / ImGui::GetStyle().FontSizeBase));
    ImGui::PushStyleColor(ImGuiCol_Text, colour);
    ImGui::RenderTextEllipsis(list, at, {at.x + width, at.y + 1.4f * size}, at.x + width, text.c_str(), nullptr,
                              nullptr);
    ImGui::PopStyleColor();
    ImGui::PopFont();
}

std::string facts_of(const ThoughtView& thought) {
    char facts[96];
    std::snprintf(facts, sizeof facts, thought.tokens == 1 ? "%lld token at %lld" : "%lld tokens at %lld",
                  static_cast<long long>(thought.tokens), static_cast<long long>(thought.prefix));
    if (std::isnan(thought.mean_log_probability)) return facts;
    return facts + formatted(" \xC2\xB7 %.2f nats", thought.mean_log_probability);
}

// Bytes and measured error say more of a z than how long it is.
std::string facts_of_z(const ThoughtView& thought) {
    std::string facts = "z " + format_bytes(static_cast<double>(thought.z_bytes));
    if (!std::isnan(thought.kl_next)) facts += formatted(" \xC2\xB7 KL %.4f", thought.kl_next);
    return facts;
}

bool same_thoughts(const GraphView& a, const GraphView& b) {
    return std::equal(a.thoughts.begin(), a.thoughts.end(), b.thoughts.begin(), b.thoughts.end(),
                      [](const ThoughtView& x, const ThoughtView& y) { return x.id == y.id; });
}

TokenRef end_of(const ThoughtView& thought) { return {thought.id, thought.path_tokens - 1}; }

// Of the pennant and the count, for a font of `em` pixels.
float marks_width(const ThoughtView& thought, float em) {
    if (thought.marks == 0) return 0;
    const std::string count = std::to_string(thought.marks);
    return 0.75f * em + ImGui::GetFont()->CalcTextSizeA(em, FLT_MAX, 0, count.c_str()).x;
}

float dot_width(const ThoughtView& thought, float em) { return std::isnan(thought.max_anomaly) ? 0 : 0.9f * em; }

}  // namespace

// Sizes follow the font, so that a larger font gives larger cards.
ImVec2 GraphPanel::card_size() const { return {11.6f * ImGui::GetFontSize(), 3.5f * ImGui::GetFontSize()}; }

ImVec2 GraphPanel::low_corner(const GraphLayout::Node& node) const {
    const ImVec2 card = card_size();
    return {node.column * 1.24f * card.x, node.row * 1.34f * card.y};
}

GraphPanel::Detail GraphPanel::detail() const {
    return camera_.zoom() > 0.62f ? Detail::card : camera_.zoom() > 0.28f ? Detail::bar : Detail::block;
}

void GraphPanel::draw(Frame& frame) {
    const Snapshot& s = frame.snapshot;
    if (s.graph->thoughts.empty()) {
        graph_.reset(), shown_ = false;
        empty_state("No thoughts yet",
                    "Each prompt, continuation and edit becomes a card here, joined to the thought it came from.");
        return;
    }
    draw_toolbar(frame);
    draw_canvas(frame);
    draw_menu(frame);
    draw_editing(frame);
}

void GraphPanel::follow(const Frame& frame) {
    const Snapshot& s = frame.snapshot;
    const bool changed = graph_ != s.graph || current_ != s.current;
    if (!changed && !frame.ui.request_fit_graph && shown_) return;
    const bool grown = !graph_ || (graph_ != s.graph && !same_thoughts(*graph_, *s.graph));
    const bool moved = current_ != s.current;
    if (grown) layout_ = lay_out(*s.graph);
    graph_ = s.graph, current_ = s.current;
    on_path_.assign(layout_.nodes.size(), 0);
    const auto found = layout_.index.find(s.current);
    for (int64_t i = found == layout_.index.end() ? -1 : found->second; i >= 0; i = layout_.nodes[i].parent)
        on_path_[i] = 1;
    if (frame.ui.request_fit_graph)
        camera_is_users_ = false, fit(true, false);
    else if (!shown_ || ((grown || moved) && !camera_is_users_))
        fit(false, !shown_);
    shown_ = true;
}

// The whole graph; or (`whole` false) as much of it around the current thought as stays readable.
void GraphPanel::fit(bool whole, bool at_once) {
    const ImVec2 card = card_size();
    const float legend = 3 * ImGui::GetFontSize();  // kept free below
    const ImVec2 extent = {((layout_.columns - 1) * 1.24f + 1) * card.x,
                           ((std::max(1.0f, layout_.rows) - 1) * 1.34f + 1) * card.y};
    const float margin = 2.4f * ImGui::GetFontSize();
    const float zoom = std::min({1.0f, canvas_.x / (extent.x + margin), (canvas_.y - legend) / (extent.y + margin)});
    const float least = whole ? GraphCamera::kLeast : 0.64f;
    ImVec2 centre = {extent.x / 2, extent.y / 2 + legend / 2 / std::max(zoom, least)};
    const auto found = layout_.index.find(current_);
    if (zoom < least && found != layout_.index.end()) {
        const ImVec2 low = low_corner(layout_.nodes[found->second]);
        const ImVec2 room = {canvas_.x / least / 2 - margin, canvas_.y / least / 2 - margin};
        const auto place = [](float at, float room, float extent) {
            return extent < 2 * room ? extent / 2 : std::clamp(at, room, extent - room);
        };
        centre = {place(low.x + card.x / 2, room.x, extent.x), place(low.y + card.y / 2, room.y, extent.y)};
    }
    camera_.show(centre, std::max(zoom, least), at_once);
}

void GraphPanel::draw_toolbar(Frame& frame) {
    if (ImGui::Button("Fit")) frame.ui.request_fit_graph = true;
    tooltip("Shows the whole graph. (F)");
    char about[64];
    std::snprintf(about, sizeof about,
                  frame.snapshot.graph->thoughts.size() == 1 ? "%zu thought \xC2\xB7 %s" : "%zu thoughts \xC2\xB7 %s",
                  frame.snapshot.graph->thoughts.size(),
                  format_bytes(static_cast<double>(frame.snapshot.graph->bytes)).c_str());
    const float about_width = ImGui::CalcTextSize(about).x;
    ImGui::SameLine();
    const float room = ImGui::GetContentRegionAvail().x;
    if (room < about_width) return ImGui::NewLine();
    ImGui::SetCursorPosX(ImGui::GetCursorPosX() + room - about_width);
    ImGui::AlignTextToFramePadding();
    ImGui::TextDisabled("%s", about);
    tooltip("Number of thoughts, and what their states take in memory.");
}

void GraphPanel::draw_canvas(Frame& frame) {
    ImGui::PushStyleColor(ImGuiCol_ChildBg, palette::background);
    ImGui::PushStyleVar(ImGuiStyleVar_WindowPadding, ImVec2(0, 0));
    ImGui::BeginChild("canvas", {0, 0}, ImGuiChildFlags_None,
                      ImGuiWindowFlags_NoScrollbar | ImGuiWindowFlags_NoScrollWithMouse | ImGuiWindowFlags_NoMove |
                          ImGuiWindowFlags_NoNavInputs);
    ImGui::PopStyleVar();
    ImGui::PopStyleColor();
    const ImVec2 low = ImGui::GetCursorScreenPos();
    const ImVec2 room = ImGui::GetContentRegionAvail();
    const ImVec2 canvas = {std::max(room.x, 1.0f), std::max(room.y, 1.0f)};
    const bool resized = canvas.x != canvas_.x || canvas.y != canvas_.y;
    canvas_ = canvas;
    camera_.set_view(low, canvas_);
    if (ImGui::IsWindowFocused() && ImGui::IsKeyPressed(ImGuiKey_F, false)) frame.ui.request_fit_graph = true;
    follow(frame);
    if (resized && !camera_is_users_) fit(false, true);
    frame.ui.request_fit_graph = false;
    if (camera_.advance(ImGui::GetIO().DeltaTime)) frame.ui.redraw_after(0);
    move_camera(frame, ImGui::IsWindowHovered());
    ImDrawList* list = ImGui::GetWindowDrawList();
    draw_edges(frame, list);
    draw_nodes(frame, list);
    draw_legend(list, low);
    ImGui::EndChild();
}

// Along the lower edge, of the kinds that occur, in as many lines as they need.
void GraphPanel::draw_legend(ImDrawList* list, ImVec2 low) const {
    const float em = std::round(0.87f * ImGui::GetFontSize()), line = 1.5f * em;
    struct Entry {
        EdgeKind kind;
        ImVec2 at;
        float width;
    };
    std::vector<Entry> entries;
    ImVec2 at = {em, 0};
    for (const EdgeKind kind : kKinds) {
        if (std::none_of(graph_->thoughts.begin(), graph_->thoughts.end(),
                         [kind](const ThoughtView& t) { return t.edge == kind; }))
            continue;
        const float width = 1.4f * em + ImGui::GetFont()->CalcTextSizeA(em, FLT_MAX, 0, edge_name(kind)).x;
        if (at.x + width > canvas_.x - em && at.x > em) at = {em, at.y + line};
        entries.push_back({kind, at, width});
        at.x += width + 1.1f * em;
    }
    const float height = at.y + line + 0.5f * em, top = low.y + canvas_.y - height;
    if (entries.empty() || height > 0.4f * canvas_.y) return;
    list->AddRectFilled({low.x, top}, {low.x + canvas_.x, low.y + canvas_.y}, with_alpha(palette::background, 0.86f));
    for (const Entry& entry : entries) {
        const ImVec2 p = {low.x + entry.at.x, top + 0.25f * em + entry.at.y};
        badge(list, {p.x + 0.5f * em, p.y + 0.75f * em}, 0.5f * em, entry.kind);
        list->AddText(ImGui::GetFont(), em, {p.x + 1.4f * em, p.y + 0.25f * em}, palette::text_dim,
                      edge_name(entry.kind));
    }
}

void GraphPanel::move_camera(Frame& frame, bool hovered) {
    const ImGuiIO& io = ImGui::GetIO();
    if (hovered && io.MouseWheel != 0) {
        camera_.zoom_at(io.MousePos, std::pow(1.18f, io.MouseWheel));
        camera_is_users_ = true;
        frame.ui.redraw_after(0);
    }
    for (const ImGuiMouseButton button : {ImGuiMouseButton_Left, ImGuiMouseButton_Middle}) {
        // The press must have been in this canvas; a drag that began on a card pans as well.
        if (!ImGui::IsMouseDragging(button) || !ImGui::IsWindowFocused()) continue;
        const ImVec2 low = ImGui::GetWindowPos(), press = io.MouseClickedPos[button];
        if (press.x < low.x || press.y < low.y || press.x > low.x + canvas_.x || press.y > low.y + canvas_.y) continue;
        camera_.pan(io.MouseDelta);
        camera_is_users_ = true;
    }
}

void GraphPanel::draw_edges(const Frame&, ImDrawList* list) const {
    for (size_t i = 0; i < layout_.nodes.size(); ++i) {
        const GraphLayout::Node& node = layout_.nodes[i];
        const ImU32 colour = palette::edge(graph_->thoughts[i].edge);
        const bool lit = on_path_[i];
        if (node.parent >= 0)
            draw_edge(list, layout_.nodes[node.parent], node, with_alpha(colour, lit ? 1.0f : 0.5f), lit ? 2.6f : 1.5f);
        if (node.other_parent >= 0)
            draw_edge(list, layout_.nodes[node.other_parent], node, with_alpha(palette::edge(EdgeKind::merge), 0.5f),
                      1.5f);
    }
}

void GraphPanel::draw_edge(ImDrawList* list, const GraphLayout::Node& from, const GraphLayout::Node& to, ImU32 colour,
                           float thickness) const {
    const ImVec2 card = card_size(), a = low_corner(from), b = low_corner(to);
    const ImVec2 start = camera_.to_screen({a.x + card.x, a.y + card.y / 2}),
                 end = camera_.to_screen({b.x, b.y + card.y / 2});
    if (!ImGui::IsRectVisible({std::min(start.x, end.x), std::min(start.y, end.y) - 1},
                              {std::max(start.x, end.x), std::max(start.y, end.y) + 1}))
        return;
    if (detail() == Detail::block) return list->AddLine(start, end, colour, 1);
    const float bend = std::max(12.0f * camera_.zoom(), 0.5f * std::fabs(end.x - start.x));
    list->AddBezierCubic(start, {start.x + bend, start.y}, {end.x - bend, end.y}, end, colour, thickness,
                         start.y == end.y ? 1 : 14);
}

void GraphPanel::draw_nodes(Frame& frame, ImDrawList* list) {
    const ImVec2 card = card_size();
    ImGui::PushItemFlag(ImGuiItemFlags_NoNav | ImGuiItemFlags_NoTabStop, true);
    for (size_t i = 0; i < layout_.nodes.size(); ++i) {
        const ImVec2 corner = low_corner(layout_.nodes[i]);
        const ImVec2 low = camera_.to_screen(corner), high = camera_.to_screen({corner.x + card.x, corner.y + card.y});
        if (!ImGui::IsRectVisible(low, high)) continue;
        const ThoughtView& thought = graph_->thoughts[i];
        char id[32];
        std::snprintf(id, sizeof id, "thought %lld", static_cast<long long>(thought.id));
        ImGui::SetCursorScreenPos(low);
        ImGui::SetNextItemAllowOverlap();
        if (ImGui::InvisibleButton(id, {std::max(2.0f, high.x - low.x), std::max(2.0f, high.y - low.y)},
                                   ImGuiButtonFlags_MouseButtonLeft | ImGuiButtonFlags_MouseButtonRight))
            react(frame, thought);
        const bool hovered = ImGui::IsItemHovered();
        if (ImGui::IsItemHovered(ImGuiHoveredFlags_ForTooltip)) draw_tooltip(thought);
        draw_node(frame, list, i, low, high, hovered);
        if (thought.marks > 0 && detail() != Detail::block) draw_marks(frame, thought, low, high);
    }
    ImGui::PopItemFlag();
}

// The pennant on a card, with the number of marked tokens: a button of its own.
void GraphPanel::draw_marks(Frame& frame, const ThoughtView& thought, ImVec2 low, ImVec2 high) {
    const float em = std::round(ImGui::GetFontSize() * camera_.zoom()), width = marks_width(thought, em);
    const float top = detail() == Detail::card ? low.y + 0.5f * em : (low.y + high.y - 1.2f * em) / 2;
    const ImVec2 at = {high.x - 0.55f * em - dot_width(thought, em) - width, top};
    char id[32];
    std::snprintf(id, sizeof id, "marks %lld", static_cast<long long>(thought.id));
    ImGui::SetCursorScreenPos({at.x - 2, at.y - 2});
    const bool pressed = ImGui::InvisibleButton(id, {std::max(4.0f, width + 4), std::max(4.0f, 1.2f * em + 4)});
    ImDrawList* list = ImGui::GetWindowDrawList();
    if (ImGui::IsItemHovered())
        list->AddRectFilled(ImGui::GetItemRectMin(), ImGui::GetItemRectMax(), with_alpha(palette::bad, 0.3f), 3);
    list->AddLine({at.x + 1, at.y + 0.15f * em}, {at.x + 1, at.y + 1.1f * em}, palette::bad, 1.5f);
    list->AddTriangleFilled({at.x + 1, at.y + 0.15f * em}, {at.x + 0.6f * em, at.y + 0.4f * em},
                            {at.x + 1, at.y + 0.65f * em}, palette::bad);
    list->AddText(ImGui::GetFont(), em, {at.x + 0.7f * em, at.y}, palette::text, std::to_string(thought.marks).c_str());
    char about[200];
    std::snprintf(about, sizeof about,
                  "%lld of its own tokens marked: an anomaly percentile of at least %.4g, the threshold set under "
                  "Anomaly. Click: the first of them.",
                  static_cast<long long>(thought.marks), frame.snapshot.mark_threshold);
    tooltip(about);
    if (!pressed) return;
    const TokenRef first{thought.id, thought.first_mark};
    if (find_token(frame.snapshot, first))
        frame.submit(command::Select{first});
    else
        frame.submit(command::RewindHere{first});
}

void GraphPanel::react(Frame& frame, const ThoughtView& thought) {
    if (ImGui::GetIO().MouseReleased[ImGuiMouseButton_Right]) {
        menu_ = thought.id;
        menu_pending_ = true;
        return;
    }
    const ImVec2 drag = ImGui::GetIO().MouseClickedPos[ImGuiMouseButton_Left];
    const ImVec2 now = ImGui::GetIO().MousePos;
    if (std::fabs(drag.x - now.x) + std::fabs(drag.y - now.y) > 6) return;
    frame.submit(command::Select{end_of(thought)});
    if (ImGui::GetIO().MouseClickedLastCount[ImGuiMouseButton_Left] >= 2) frame.submit(command::SetCurrent{thought.id});
}

void GraphPanel::draw_node(const Frame& frame, ImDrawList* list, size_t index, ImVec2 low, ImVec2 high,
                           bool hovered) const {
    const ThoughtView& thought = graph_->thoughts[index];
    const ImU32 colour = palette::edge(thought.edge);
    const float rounding = 5 * std::min(1.0f, camera_.zoom());
    if (detail() == Detail::block) {
        list->AddRectFilled(low, high, with_alpha(colour, on_path_[index] ? 1.0f : 0.65f), rounding);
    } else {
        list->AddRectFilled(low, high, hovered ? palette::raised : palette::panel, rounding);
        list->AddRectFilled(low, {low.x + 4 * camera_.zoom(), high.y}, colour, rounding,
                            ImDrawFlags_RoundTopLeft | ImDrawFlags_RoundBottomLeft);
        draw_card(list, thought, low, high);
    }
    draw_outline(frame, list, index, low, high, hovered);
}

void GraphPanel::draw_card(ImDrawList* list, const ThoughtView& thought, ImVec2 low, ImVec2 high) const {
    // Whole font sizes only: each size that is drawn is kept as glyphs in the atlas.
    const float em = std::round(ImGui::GetFontSize() * camera_.zoom()), pad = 0.55f * em;
    const float flag = thought.marks > 0 ? marks_width(thought, em) + 0.4f * em : 0;
    const float marks = (thought.bookmarked ? 1.2f : 0.0f) * em + dot_width(thought, em) + flag;
    const float left = low.x + 4 * camera_.zoom() + pad;
    const bool full = detail() == Detail::card;
    const float top = full ? low.y + 0.5f * em : (low.y + high.y - 1.2f * em) / 2;
    badge(list, {left + 0.5f * em, top + 0.58f * em}, 0.52f * em, thought.edge);
    clipped_text(list, em, {left + 1.4f * em, top}, high.x - left - 1.4f * em - pad - marks, palette::text,
                 name_of(thought));
    float x = high.x - pad;
    if (!std::isnan(thought.max_anomaly)) {
        list->AddCircleFilled({x - 0.3f * em, top + 0.6f * em}, 0.3f * em, anomaly_colour(thought.max_anomaly), 12);
        x -= 0.9f * em;
    }
    x -= flag;
    if (thought.bookmarked) draw_star(list, {x - 0.5f * em, top + 0.55f * em}, 0.55f * em, palette::warning, true);
    if (!full) return;
    std::string line = thought.z_bytes > 0 ? facts_of_z(thought) : facts_of(thought);
    if (!thought.note.empty()) line += " \xC2\xB7 note";
    clipped_text(list, std::round(0.88f * em), {left, low.y + 1.95f * em}, high.x - left - pad, palette::text_dim,
                 line);
}

void GraphPanel::draw_outline(const Frame& frame, ImDrawList* list, size_t index, ImVec2 low, ImVec2 high,
                              bool hovered) const {
    const ThoughtView& thought = graph_->thoughts[index];
    const float rounding = 5 * std::min(1.0f, camera_.zoom());
    const bool current = thought.id == frame.snapshot.current, selected = thought.id == frame.snapshot.selected.thought;
    const ImVec2 out_low = {low.x - 2, low.y - 2}, out_high = {high.x + 2, high.y + 2};
    if (thought.generating) {
        // Driven by frames that are drawn anyway while tokens arrive: it asks for none itself.
        const float pulse = 0.5f + 0.5f * std::sin(4 * static_cast<float>(ImGui::GetTime()));
        list->AddRect({low.x - 4, low.y - 4}, {high.x + 4, high.y + 4}, with_alpha(palette::good, 0.25f + 0.6f * pulse),
                      rounding + 4, 2);
    }
    if (selected) list->AddRect(out_low, out_high, palette::accent, rounding + 2, 2);
    if (detail() == Detail::block) return;
    const ImU32 line = current           ? palette::text
                       : hovered         ? palette::text_dim
                       : on_path_[index] ? with_alpha(palette::text_dim, 0.7f)
                                         : palette::border;
    list->AddRect(low, high, line, rounding, current ? 1.5f : 1.0f);
}

void GraphPanel::draw_tooltip(const ThoughtView& thought) const {
    if (!ImGui::BeginTooltip()) return;
    ImGui::PushTextWrapPos(24 * ImGui::GetFontSize());
    ImGui::TextUnformatted(name_of(thought).c_str());
    ImGui::TextColored(ImGui::ColorConvertU32ToFloat4(palette::edge(thought.edge)), "thought %lld, %s",
                       static_cast<long long>(thought.id), edge_name(thought.edge));
    if (!thought.detail.empty()) ImGui::TextUnformatted(drawable(thought.detail).c_str());
    if (!thought.note.empty())
        ImGui::TextColored(ImGui::ColorConvertU32ToFloat4(palette::warning), "%s", drawable(thought.note).c_str());
    ImGui::PushStyleColor(ImGuiCol_Text, palette::text_dim);
    ImGui::Text("%lld own tokens, %lld with its path", static_cast<long long>(thought.tokens),
                static_cast<long long>(thought.path_tokens));
    if (!std::isnan(thought.mean_log_probability))
        ImGui::Text("mean log-probability %.3f nats", thought.mean_log_probability);
    if (!std::isnan(thought.max_anomaly)) ImGui::Text("highest anomaly percentile %.1f", thought.max_anomaly);
    if (thought.marks > 0)
        ImGui::Text("%lld tokens marked, the first at %lld", static_cast<long long>(thought.marks),
                    static_cast<long long>(thought.first_mark));
    ImGui::Text("%s in memory (%s)", format_bytes(static_cast<double>(thought.bytes)).c_str(),
                thought.has_kv        ? thought.has_hidden ? "keys, values, hidden states" : "keys and values"
                : thought.z_bytes > 0 ? "z, decoded when needed"
                                      : "ids only, replayed when needed");
    if (!std::isnan(thought.kl_next))
        ImGui::Text("approximate: KL of its next token to the exact state's %.5f nats", thought.kl_next);
    ImGui::PopStyleColor();
    ImGui::PopTextWrapPos();
    ImGui::EndTooltip();
}

}  // namespace savepoint::views
