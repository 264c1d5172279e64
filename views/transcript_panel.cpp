#include "views/transcript_panel.h"

#include <imgui.h>

#include <algorithm>
#include <cmath>
#include <cstdio>

#include "views/palette.h"
#include "views/widgets.h"

namespace savepoint::views {
namespace {

constexpr const char* kColourNames[] = {"No colour", "Log-probability", "Anomaly", "Reconstruction error",
                                        "Attention received"};

bool refers_to(TokenRef ref, const TokenView& token, const PathView& path) {
    return ref.position == token.position && (ref.thought == token.thought || ref.thought == path.thought);
}

ImU32 mix(ImU32 a, ImU32 b, float t) {
    const ImVec4 x = ImGui::ColorConvertU32ToFloat4(a), y = ImGui::ColorConvertU32ToFloat4(b);
    return ImGui::ColorConvertFloat4ToU32({x.x + t * (y.x - x.x), x.y + t * (y.y - x.y), x.z + t * (y.z - x.z), 1});
}

std::string text_of(const PathView& path, int64_t last) {
    std::string text;
    for (const auto& token : path.tokens)
        if (token->position <= last) text += token->text;
    return text;
}

const ThoughtView* find_thought(const GraphView& graph, ThoughtId id) {
    for (const ThoughtView& thought : graph.thoughts)
        if (thought.id == id) return &thought;
    return nullptr;
}

// Where a colour map's ends are, when the map is not linear: a bar with marks at round values.
void surprise_legend() {
    const float em = ImGui::GetFontSize(), height = 0.55f * em;
    const float room = ImGui::GetContentRegionAvail().x - ImGui::CalcTextSize("0-10 nats").x - 0.8f * em;
    const float width = std::clamp(room, 2 * em, 7 * em);
    ImGui::TextUnformatted("0");
    ImGui::SameLine(0, 0.4f * em);
    ImVec2 at = ImGui::GetCursorScreenPos();
    at.y += (ImGui::GetTextLineHeight() - height) / 2;
    ImDrawList* list = ImGui::GetWindowDrawList();
    for (int i = 0; i < 28; ++i) {
        const float a = i / 28.0f, b = (i + 1) / 28.0f;
        const auto colour = [](float t) { return log_probability_colour(-10 * t * t); };
        list->AddRectFilledMultiColor({at.x + a * width, at.y}, {at.x + b * width, at.y + height}, colour(a), colour(b),
                                      colour(b), colour(a));
    }
    const float one = at.x + width * surprise_scale(-1);
    list->AddLine({one, at.y - 2}, {one, at.y + height + 2}, palette::text_dim);
    ImGui::Dummy({width, ImGui::GetTextLineHeight()});
    tooltip(
        "Log-probability of each token before it was drawn, in nats: 0 is certain, -1 (the mark) is 37 %, -10 is 1 in "
        "22,000. "
        "The scale is a square root, so that small surprises show.");
    ImGui::SameLine(0, 0.4f * em);
    ImGui::TextUnformatted("-10 nats");
}

}  // namespace

void TranscriptPanel::draw(Frame& frame) {
    const Snapshot& s = frame.snapshot;
    if (frame.ui.colour == TokenColour::attention_mass) frame.ui.wants_attention_mass = true, scale_mass(s);
    const float spacing = ImGui::GetStyle().ItemSpacing.y;
    const float below = prompt_.height() + spacing;
    draw_header(frame);
    const float height = std::max(3 * ImGui::GetTextLineHeight(), ImGui::GetContentRegionAvail().y - below);
    if (s.path && !s.path->tokens.empty()) {
        draw_flow(frame, height);
    } else {
        ImGui::BeginChild("nothing yet", {0, height});
        if (s.model->phase == Phase::ready)
            empty_state("Nothing said yet",
                        "Type a prompt below and press Generate. Every token's state is kept, so you can go back to "
                        "any of them.");
        else if (s.model->phase == Phase::working)
            empty_state("Loading the model",
                        "You can type already; Generate becomes available when the model is there.");
        else
            empty_state("No model", "Choose a GGUF file with File > Open model.");
        ImGui::EndChild();
    }
    prompt_.draw(frame);
    draw_menu(frame);
}

void TranscriptPanel::draw_header(Frame& frame) {
    const Snapshot& s = frame.snapshot;
    if (!s.path || s.path->tokens.empty()) return;
    ImGui::SetNextItemWidth(10.5f * ImGui::GetFontSize());
    int colour = static_cast<int>(frame.ui.colour);
    if (ImGui::Combo("##colour", &colour, kColourNames, IM_ARRAYSIZE(kColourNames)))
        frame.ui.colour = static_cast<TokenColour>(colour);
    tooltip("What the colour of a token means.");
    ImGui::SameLine();
    ImGui::AlignTextToFramePadding();
    draw_legend(frame);
    const ThoughtView* thought = find_thought(*s.graph, s.path->thought);
    char about[96];
    std::snprintf(about, sizeof about, "thought %lld \xC2\xB7 %zu tokens%s", static_cast<long long>(s.path->thought),
                  s.path->tokens.size(), s.path->generating ? " \xC2\xB7 generating" : "");
    const float width = ImGui::CalcTextSize(about).x;
    const float right = ImGui::GetWindowPos().x + ImGui::GetWindowWidth() - ImGui::GetStyle().WindowPadding.x;
    if (ImGui::GetItemRectMax().x + ImGui::GetStyle().ItemSpacing.x + width > right) return;
    ImGui::SameLine(right - width - ImGui::GetWindowPos().x);
    ImGui::TextDisabled("%s", about);
    if (thought) tooltip(thought->detail.empty() ? thought->text.c_str() : thought->detail.c_str());
}

void TranscriptPanel::draw_legend(const Frame& frame) {
    char high[32];
    switch (frame.ui.colour) {
        case TokenColour::none:
            ImGui::TextDisabled("plain text");
            return;
        case TokenColour::log_probability:
            surprise_legend();
            return;
        case TokenColour::anomaly:
            colour_legend("percentile", "50", "100");
            tooltip(
                "How far the token's linear-attention read-outs are from normal text, as a percentile of held-out "
                "normal tokens.");
            return;
        case TokenColour::reconstruction:
            std::snprintf(high, sizeof high, "%.2g", worst_fvu_);
            colour_legend("FVU", "0", high);
            tooltip(
                "Fraction of the variance of the token's hidden states that the sidecar does not explain. 0 is exact.");
            return;
        case TokenColour::attention_mass:
            if (!frame.snapshot.attention_mass) return ImGui::TextDisabled("adding up attention...");
            std::snprintf(high, sizeof high, "%.3g queries", most_mass_);
            colour_legend("received", "0", high);
            tooltip(kAttentionMassTip);
            return;
    }
}

// Attention rests on the first token: it would hide the others if the scale reached up to it. The root of the share
// shows small ones too.
void TranscriptPanel::scale_mass(const Snapshot& snapshot) {
    const auto& view = snapshot.attention_mass;
    if (!view || mass_scaled_ == view) return;
    mass_scaled_ = view;
    most_mass_ = 1e-6f;
    for (size_t i = std::min<size_t>(1, view->mean.size() - 1); i < view->mean.size(); ++i)
        most_mass_ = std::max(most_mass_, view->mean[i]);
}

ImU32 TranscriptPanel::colour_of(const Frame& frame, const TokenView& token) const {
    switch (frame.ui.colour) {
        case TokenColour::none:
            return 0;
        case TokenColour::log_probability:
            return std::isnan(token.log_probability) ? 0 : log_probability_colour(token.log_probability);
        case TokenColour::anomaly:
            return token.anomaly > 50 ? anomaly_colour(token.anomaly) : 0;  // the usual half stays plain
        case TokenColour::reconstruction:
            return std::isnan(token.hidden_fvu) ? 0 : sequential(token.hidden_fvu / worst_fvu_);
        case TokenColour::attention_mass: {
            const float mass = attention_mass_at(frame.snapshot, token.position);
            return std::isnan(mass) ? 0 : sequential(std::sqrt(std::min(1.0f, mass / most_mass_)));
        }
    }
    return 0;
}

void TranscriptPanel::draw_flow(Frame& frame, float height) {
    const PathView& path = *frame.snapshot.path;
    find_branches(frame);
    ImGui::PushStyleColor(ImGuiCol_ChildBg, palette::background);
    // Room for a scrollbar is kept, so that lines do not break anew when one is needed; unneeded it is not seen.
    const bool fits = flow_fits_;
    if (fits)
        for (const ImGuiCol colour :
             {ImGuiCol_ScrollbarGrab, ImGuiCol_ScrollbarGrabHovered, ImGuiCol_ScrollbarGrabActive})
            ImGui::PushStyleColor(colour, IM_COL32_BLACK_TRANS);
    ImGui::BeginChild("flow", {0, height}, ImGuiChildFlags_AlwaysUseWindowPadding,
                      ImGuiWindowFlags_AlwaysVerticalScrollbar);
    if (fits) ImGui::PopStyleColor(3);
    flow_fits_ = ImGui::GetScrollMaxY() <= 0;
    const float em = ImGui::GetFontSize(), line_height = std::round(1.55f * em), gutter = std::round(2.9f * em);
    const ImVec2 origin = ImGui::GetCursorScreenPos();
    flow_.update(path, std::max(4 * em, ImGui::GetContentRegionAvail().x - gutter - em));
    ImGui::PushItemFlag(ImGuiItemFlags_NoNav | ImGuiItemFlags_NoTabStop, true);
    draw_lines(frame, origin, line_height, gutter);
    ImGui::PopItemFlag();
    ImGui::SetCursorScreenPos(origin);
    ImGui::Dummy({1, line_height * static_cast<float>(flow_.lines())});
    keep_in_view(frame, line_height);
    move_by_keys(frame);
    ImGui::EndChild();
    ImGui::PopStyleColor();
}

void TranscriptPanel::draw_lines(Frame& frame, ImVec2 origin, float line_height, float gutter) {
    const PathView& path = *frame.snapshot.path;
    const float scroll = ImGui::GetScrollY(), view = ImGui::GetWindowHeight();
    const int32_t first = std::max(0, static_cast<int32_t>(scroll / line_height) - 1);
    const int32_t last = std::min(flow_.lines() - 1, static_cast<int32_t>((scroll + view) / line_height) + 1);
    int32_t previous = -1;
    for (int32_t line = first; line <= last; ++line) {
        const float y = origin.y + line_height * static_cast<float>(line);
        const size_t start = flow_.first_piece(line), end = flow_.first_piece(line + 1);
        if (start < end) draw_gutter(path, start, {origin.x, y}, gutter, line_height);
        for (size_t i = start; i < end; ++i) {
            const FlowPiece& piece = flow_.pieces()[i];
            draw_piece(frame, piece, piece.token != previous, {origin.x + gutter + piece.x, y}, line_height);
            previous = piece.token;
        }
    }
}

void TranscriptPanel::draw_gutter(const PathView& path, size_t piece, ImVec2 at, float width, float line_height) {
    const TokenView& token = *path.tokens[flow_.pieces()[piece].token];
    const float em = ImGui::GetFontSize(), size = std::round(0.8f * em);
    char number[24];
    std::snprintf(number, sizeof number, "%lld", static_cast<long long>(token.position));
    ImDrawList* list = ImGui::GetWindowDrawList();
    const float text_width = ImGui::GetFont()->CalcTextSizeA(size, FLT_MAX, 0, number).x;
    const float bar = at.x + width - 0.6f * em;
    list->AddText(ImGui::GetFont(), size, {bar - 0.5f * em - text_width, at.y + (line_height - size) / 2},
                  with_alpha(palette::text_dim, 0.8f), number);
    list->AddRectFilled({bar, at.y}, {bar + 2, at.y + line_height}, with_alpha(palette::thought(token.thought), 0.75f));
}

void TranscriptPanel::draw_piece(Frame& frame, const FlowPiece& piece, bool first_of_token, ImVec2 at,
                                 float line_height) {
    const PathView& path = *frame.snapshot.path;
    const TokenView& token = *path.tokens[piece.token];
    const ImVec2 low = {at.x, at.y + 2}, high = {at.x + piece.width, at.y + line_height - 2};
    char id[48];
    if (first_of_token)
        std::snprintf(id, sizeof id, "token %lld", static_cast<long long>(token.position));
    else
        std::snprintf(id, sizeof id, "token %lld.%u", static_cast<long long>(token.position), piece.first);
    ImGui::SetCursorScreenPos({low.x, at.y});
    ImGui::InvisibleButton(id, {std::max(1.0f, piece.width), line_height},
                           ImGuiButtonFlags_MouseButtonLeft | ImGuiButtonFlags_MouseButtonRight);
    react(frame, token);
    ImU32 background = colour_of(frame, token);
    if (background && token.prompt) background = mix(background, palette::background, 0.45f);
    ImDrawList* list = ImGui::GetWindowDrawList();
    if (background && piece.kind != FlowPiece::Kind::chip)
        list->AddRectFilled({low.x + 0.5f, low.y}, {high.x - 0.5f, high.y}, background, 2.5f);
    draw_text(piece, token, low, high, background ? background : palette::background);
    if (frame.ui.selection.contains(token.thought, token.position)) {
        list->AddRectFilled({low.x, high.y - 1.5f}, {high.x, high.y + 1.5f}, palette::accent);
        list->AddRectFilled({low.x, low.y - 1.5f}, {high.x, low.y}, palette::accent);
    }
    if (first_of_token) draw_marks(frame, token, low, high);
    if (refers_to(frame.snapshot.selected, token, path))
        list->AddRect({low.x - 1, low.y - 1}, {high.x + 1, high.y + 1}, palette::accent, 3, 2);
    else if (refers_to(frame.ui.hovered, token, path))
        list->AddRect(low, high, palette::text, 3, 1);
}

void TranscriptPanel::draw_text(const FlowPiece& piece, const TokenView& token, ImVec2 low, ImVec2 high,
                                ImU32 background) {
    ImDrawList* list = ImGui::GetWindowDrawList();
    const float em = ImGui::GetFontSize();
    const float y = (low.y + high.y - em) / 2;
    if (piece.kind == FlowPiece::Kind::line_end) {
        // A return arrow, drawn: few fonts have one.
        const ImVec2 tip = {low.x + 0.2f * em, y + 0.62f * em};
        const ImU32 colour = with_alpha(palette::text_dim, 0.7f);
        list->AddLine(tip, {tip.x + 0.45f * em, tip.y}, colour);
        list->AddLine({tip.x + 0.45f * em, tip.y}, {tip.x + 0.45f * em, tip.y - 0.3f * em}, colour);
        list->AddTriangleFilled({tip.x - 1, tip.y}, {tip.x + 3, tip.y - 3}, {tip.x + 3, tip.y + 3}, colour);
        return;
    }
    const std::string& shown = flow_.shown(piece.token);
    const char *first = shown.data() + piece.first, *last = shown.data() + piece.last;
    if (piece.kind == FlowPiece::Kind::chip) {
        list->AddRectFilled({low.x + 1, low.y + 1}, {high.x - 1, high.y - 1}, palette::raised, em);
        list->AddRect({low.x + 1, low.y + 1}, {high.x - 1, high.y - 1}, palette::border, em);
        list->AddText({low.x + TokenFlow::chip_padding(), y}, palette::text_dim, first, last);
        return;
    }
    const ImU32 plain = token.prompt ? mix(palette::text, palette::text_dim, 0.5f) : palette::text;
    list->AddText({low.x, y}, background == palette::background ? plain : readable_on(background), first, last);
}

// Marked tokens carry a pennant, edited ones an orange bar below, branch points a small fork in the colours of the
// edges that leave there, and the first token of a thought a bar in the thought's colour.
void TranscriptPanel::draw_marks(const Frame& frame, const TokenView& token, ImVec2 low, ImVec2 high) {
    ImDrawList* list = ImGui::GetWindowDrawList();
    const PathView& path = *frame.snapshot.path;
    if (token.marked) draw_pennant(list, low, 0.42f * ImGui::GetFontSize());
    if (token.edited) list->AddRectFilled({low.x, high.y - 1}, {high.x, high.y + 2}, palette::edited, 1);
    const auto index = static_cast<size_t>(token.position);
    if (index > 0 && index < path.tokens.size() && path.tokens[index - 1]->thought != token.thought)
        list->AddRectFilled({low.x - 1, low.y - 2}, {low.x + 1, high.y + 2}, palette::thought(token.thought));
    const auto found = branches_.find(token.position);
    if (found == branches_.end()) return;
    float x = high.x - 3;
    for (const Branch& branch : found->second) {
        list->AddTriangleFilled({x - 4, high.y - 1}, {x + 4, high.y - 1}, {x, high.y + 4}, palette::edge(branch.edge));
        x -= 6;
    }
}

void TranscriptPanel::react(Frame& frame, const TokenView& token) {
    const TokenRef ref = {token.thought, token.position};
    if (ImGui::IsItemHovered()) frame.ui.hovering = ref;
    if (ImGui::IsItemClicked(ImGuiMouseButton_Left)) frame.submit(command::Select{ref}), cursor_ = ref;
    if (ImGui::IsItemClicked(ImGuiMouseButton_Right)) {
        frame.submit(command::Select{ref});
        menu_ = cursor_ = ref;
        menu_pending_ = true;
    }
    if (!ImGui::IsItemHovered(ImGuiHoveredFlags_ForTooltip)) return;
    token_tooltip(token, attention_mass_at(frame.snapshot, token.position));
    const auto found = branches_.find(token.position);
    if (found == branches_.end() || !ImGui::BeginTooltip()) return;
    for (const Branch& branch : found->second)
        ImGui::TextColored(ImGui::ColorConvertU32ToFloat4(palette::edge(branch.edge)), "thought %lld leaves here (%s)",
                           static_cast<long long>(branch.thought), edge_name(branch.edge));
    ImGui::EndTooltip();
}

void TranscriptPanel::draw_menu(Frame& frame) {
    // Opened here and not where the click was seen: popups belong to the window that opens them.
    if (menu_pending_ && !ImGui::IsMouseDown(ImGuiMouseButton_Right)) {
        menu_pending_ = false;
        ImGui::OpenPopup("token menu");
    }
    if (!ImGui::BeginPopup("token menu")) return;
    const PathView* path = frame.snapshot.path.get();
    const auto index = static_cast<size_t>(std::max<int64_t>(menu_.position, 0));
    if (!path || index >= path->tokens.size()) {
        ImGui::CloseCurrentPopup();
        ImGui::EndPopup();
        return;
    }
    const TokenView& token = *path->tokens[index];
    ImGui::TextDisabled("%s at %lld", visible(token.text).c_str(), static_cast<long long>(token.position));
    ImGui::Separator();
    if (ImGui::MenuItem("Branch here")) frame.submit(command::BranchHere{menu_, frame.ui.generate});
    tooltip("Generates a new thought from this token on; the old one stays.");
    draw_replacements(frame, index > 0 ? path->tokens[index - 1].get() : nullptr);
    if (ImGui::MenuItem("Rewind here")) frame.submit(command::RewindHere{menu_});
    tooltip("Makes this the current point: what you generate next goes on from here.");
    ImGui::Separator();
    if (ImGui::MenuItem("Copy token")) ImGui::SetClipboardText(token.text.c_str());
    if (ImGui::MenuItem("Copy text up to here")) ImGui::SetClipboardText(text_of(*path, menu_.position).c_str());
    if (ImGui::MenuItem("Copy whole transcript")) ImGui::SetClipboardText(text_of(*path, INT64_MAX).c_str());
    ImGui::EndPopup();
}

void TranscriptPanel::draw_replacements(Frame& frame, const TokenView* before) {
    if (!ImGui::BeginMenu("Replace token by", before && !before->next.empty())) return;
    for (const CandidateView& candidate : before->next) {
        char label[160];
        std::snprintf(label, sizeof label, "%s###%d", visible(candidate.text).c_str(), candidate.id);
        char probability[32];
        std::snprintf(probability, sizeof probability, "%.2f %%", 100.0 * candidate.probability);
        if (ImGui::MenuItem(label, probability))
            frame.submit(command::ReplaceToken{menu_, candidate.id, frame.ui.generate});
    }
    ImGui::EndMenu();
}

void TranscriptPanel::move_by_keys(Frame& frame) {
    if (frame.snapshot.status.generating && ImGui::IsWindowFocused(ImGuiFocusedFlags_RootAndChildWindows) &&
        ImGui::IsKeyPressed(ImGuiKey_Escape, false))
        frame.submit(command::Stop{});
    if (!ImGui::IsWindowFocused()) return;
    const PathView& path = *frame.snapshot.path;
    const auto last = static_cast<int64_t>(path.tokens.size()) - 1;
    int64_t at = cursor_.position;
    if (ImGui::IsKeyPressed(ImGuiKey_LeftArrow))
        --at;
    else if (ImGui::IsKeyPressed(ImGuiKey_RightArrow))
        ++at;
    else if (ImGui::IsKeyPressed(ImGuiKey_Home))
        at = 0;
    else if (ImGui::IsKeyPressed(ImGuiKey_End))
        at = last;
    else
        return;
    at = std::clamp<int64_t>(at, 0, last);
    if (at == cursor_.position) return;
    cursor_ = {path.tokens[at]->thought, at};
    frame.submit(command::Select{cursor_});
}

// Follows the text while it streams in, unless the user has scrolled up; and shows a selection made elsewhere.
void TranscriptPanel::keep_in_view(const Frame& frame, float line_height) {
    const Snapshot& s = frame.snapshot;
    const float view = ImGui::GetWindowHeight(), bottom = ImGui::GetScrollMaxY();
    const float scroll = ImGui::GetScrollY();
    if (last_thought_ != s.path->thought) at_bottom_ = true;
    if (at_bottom_ && (s.path->generating || last_thought_ != s.path->thought)) ImGui::SetScrollHereY(1.0f);
    last_thought_ = s.path->thought;
    // A wheel or a drag moves away from the bottom; growing text alone does not.
    if (ImGui::GetIO().MouseWheel != 0 || ImGui::IsMouseDown(ImGuiMouseButton_Left) || !s.path->generating)
        at_bottom_ = scroll >= bottom - line_height;
    if (s.selected == seen_selection_) return;
    seen_selection_ = cursor_ = s.selected;
    const int32_t line = flow_.line_of(s.selected.position);
    const float y = line_height * static_cast<float>(line);
    if (line >= 0 && (y < scroll || y + line_height > scroll + view - line_height))
        ImGui::SetScrollY(std::max(0.0f, y - 0.4f * view));
}

void TranscriptPanel::find_branches(const Frame& frame) {
    const Snapshot& s = frame.snapshot;
    if (branches_of_graph_ == s.graph && branches_of_path_ == s.path) return;
    branches_of_graph_ = s.graph, branches_of_path_ = s.path;
    branches_.clear();
    const auto& tokens = s.path->tokens;
    worst_fvu_ = 0.05f;
    std::map<ThoughtId, bool> on_path = {{s.path->thought, true}};
    for (const auto& token : tokens) {
        on_path[token->thought] = true;
        if (!std::isnan(token->hidden_fvu)) worst_fvu_ = std::max(worst_fvu_, token->hidden_fvu);
    }
    for (const ThoughtView& thought : s.graph->thoughts) {
        const int64_t from = thought.prefix - 1;
        if (on_path.count(thought.id) || from < 0 || from >= static_cast<int64_t>(tokens.size())) continue;
        if (tokens[from]->thought == thought.parent) branches_[from].push_back({thought.id, thought.edge});
    }
}

std::vector<std::pair<std::string, std::function<void(Frame&)>>> TranscriptPanel::actions() {
    const auto colour = [](TokenColour value) { return [value](Frame& frame) { frame.ui.colour = value; }; };
    const auto at_selection = [](auto make) {
        return [make](Frame& frame) {
            if (frame.snapshot.selected.position >= 0) frame.submit(make(frame));
        };
    };
    return {{"Write a prompt", [](Frame& frame) { frame.ui.focus_prompt = true; }},
            {"Stop generating", [](Frame& frame) { frame.submit(command::Stop{}); }},
            {"Continue the current thought",
             [](Frame& frame) {
                 if (frame.snapshot.current) frame.submit(command::Continue{frame.snapshot.current, frame.ui.generate});
             }},
            {"Branch at the selected token", at_selection([](Frame& f) {
                 return command::BranchHere{f.snapshot.selected, f.ui.generate};
             })},
            {"Rewind to the selected token",
             at_selection([](Frame& f) { return command::RewindHere{f.snapshot.selected}; })},
            {"Colour tokens by log-probability", colour(TokenColour::log_probability)},
            {"Colour tokens by anomaly", colour(TokenColour::anomaly)},
            {"Colour tokens by reconstruction error", colour(TokenColour::reconstruction)},
            {"Colour tokens by attention received", colour(TokenColour::attention_mass)},
            {"No token colours", colour(TokenColour::none)}};
}

}  // namespace savepoint::views
