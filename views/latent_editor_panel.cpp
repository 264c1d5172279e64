#include "views/latent_editor_panel.h"

#include <imgui.h>

#include <algorithm>
#include <cstdio>
#include <string>

#include "views/chart.h"
#include "views/latent_preview.h"
#include "views/palette.h"
#include "views/widgets.h"

namespace savepoint::views {
namespace {

constexpr LatentPart kParts[] = {LatentPart::hidden, LatentPart::key, LatentPart::value};

std::string short_label(const LatentGroupView& group) {
    if (group.first_block == group.last_block) return std::to_string(group.first_block);
    return std::to_string(group.first_block) + "-" + std::to_string(group.last_block);
}

void sidecar_state(Frame& frame) {
    const SidecarView& sidecar = *frame.snapshot.sidecar;
    char advice[256];
    if (sidecar.phase == Phase::working)
        std::snprintf(advice, sizeof advice, "%.0f %%: %s. You can go on generating meanwhile.", 100 * sidecar.progress,
                      sidecar.stage.empty() ? "starting" : sidecar.stage.c_str());
    if (sidecar.phase == Phase::working)
        empty_state("The sidecar is being fitted", advice);
    else if (sidecar.phase == Phase::failed)
        empty_state("The sidecar could not be fitted", sidecar.error.c_str());
    else if (frame.snapshot.model->phase != Phase::ready)
        empty_state("Waiting for the model", "Its sidecar, which codes states as latents to edit, comes with it.");
    else if (empty_state("No sidecar yet",
                         "A sidecar codes states as latents that you can edit. Fitting one takes a minute or two, in "
                         "the background.",
                         "Fit a sidecar"))
        frame.submit(command::FitSidecar{});
}

// The selected token as a chip, with where it stands.
void draw_token_chip(const Snapshot& snapshot, const TokenView& token) {
    const std::string text = visible(token.text);
    const ImVec2 at = ImGui::GetCursorScreenPos(), size = ImGui::CalcTextSize(text.c_str());
    const float pad = 0.45f * em(), height = ImGui::GetFrameHeight();
    auto* draw = ImGui::GetWindowDrawList();
    const ImVec2 high = {at.x + size.x + 2 * pad, at.y + height};
    draw->AddRectFilled(at, high, palette::raised, 4);
    draw->AddRect(at, high, palette::accent, 4);
    draw->AddText({at.x + pad, at.y + (height - size.y) / 2}, palette::text, text.c_str());
    ImGui::Dummy({high.x - at.x, height});
    if (ImGui::IsItemHovered()) token_tooltip(token);
    ImGui::SameLine();
    ImGui::AlignTextToFramePadding();
    ImGui::Text("position %d", static_cast<int>(token.position));
    ImGui::SameLine(0, 0.35f * em());
    ImGui::TextDisabled("of %d", static_cast<int>(snapshot.path->tokens.size()));
    tooltip(
        ("Position in the path, counted from 0. The token belongs to thought " + std::to_string(token.thought) + ".")
            .c_str());
}

// One removable edit; true when its cross was pressed.
bool draw_chip(const std::string& text) {
    const float pad = 0.4f * em(), height = std::floor(1.35f * em()), cross = 0.9f * em();
    const float width = std::min(small_width(text) + 2 * pad + cross, ImGui::GetContentRegionAvail().x);
    const ImVec2 at = ImGui::GetCursorScreenPos();
    const bool pressed = ImGui::InvisibleButton("chip", {width, height});
    const bool over = ImGui::IsItemHovered();
    auto* draw = ImGui::GetWindowDrawList();
    draw->AddRectFilled(at, {at.x + width, at.y + height}, with_alpha(palette::edited, over ? 0.32f : 0.18f),
                        height / 2);
    draw->PushClipRect(at, {at.x + width - cross - 0.2f * em(), at.y + height}, true);
    small_text(draw, {at.x + pad, at.y + (height - small_height()) / 2}, palette::text, text);
    draw->PopClipRect();
    const ImVec2 c = {at.x + width - pad - 0.25f * em(), at.y + height / 2};
    const float r = 0.18f * em();
    draw->AddLine({c.x - r, c.y - r}, {c.x + r, c.y + r}, over ? palette::text : palette::text_dim, 1.5f);
    draw->AddLine({c.x - r, c.y + r}, {c.x + r, c.y - r}, over ? palette::text : palette::text_dim, 1.5f);
    tooltip((text + "\nclick to remove this edit").c_str());
    return pressed;
}

}  // namespace

EditScope LatentEditorPanel::scope() const {
    return {kParts[part_], group_, part_ == 0 ? -1 : block_, operations_.first_token(), operations_.last_token()};
}

bool LatentEditorPanel::draw_missing(Frame& frame) const {
    const Snapshot& snapshot = frame.snapshot;
    if (snapshot.sidecar->phase != Phase::ready || snapshot.sidecar->groups.empty()) {
        sidecar_state(frame);
        return true;
    }
    if (snapshot.path == nullptr || snapshot.path->tokens.empty()) {
        empty_state("Nothing to edit yet", "Generate from a prompt, then click a token in the transcript.");
        return true;
    }
    if (find_token(snapshot, snapshot.selected) == nullptr) {
        draw_no_token(frame);
        return true;
    }
    if (snapshot.latent == nullptr || !(snapshot.latent->token == snapshot.selected)) {
        empty_state("Encoding the token", "Its latent appears here in a moment.");
        return true;
    }
    return false;
}

void LatentEditorPanel::draw_no_token(Frame& frame) const {
    const ThoughtId elsewhere = frame.snapshot.selected.thought;
    if (frame.snapshot.selected.position < 0)
        return (void)empty_state("No token selected", "Click a token in the transcript to see its latent.");
    const std::string advice = "It belongs to thought " + std::to_string(elsewhere) +
                               ". Make that thought current to edit it, or click a token in the transcript.";
    if (empty_state("The selected token is on another path", advice.c_str(), "Make it current"))
        frame.submit(command::SetCurrent{elsewhere});
}

void LatentEditorPanel::follow_selection(Frame& frame) {
    const Snapshot& snapshot = frame.snapshot;
    if (snapshot.session.opened != session_) {
        session_ = snapshot.session.opened;
        stash_.clear();
    }
    operations_.follow(snapshot.selected);
    if (snapshot.selected == at_) return;
    if (at_.position >= 0) stash_[{at_.thought, at_.position}] = frame.ui.edits;
    const bool first_time = at_.position < 0;
    at_ = snapshot.selected;
    if (first_time && !frame.ui.edits.empty()) return;  // handed in from outside, for this token
    frame.ui.edits = stash_[{at_.thought, at_.position}];
    if (!frame.ui.edits.empty()) frame.submit(command::PreviewEdit{at_, frame.ui.edits});
}

void LatentEditorPanel::follow_focus(Frame& frame) {
    const auto groups = static_cast<int64_t>(frame.snapshot.sidecar->groups.size());
    if (frame.ui.focus_group >= 0 && frame.ui.focus_group < groups) group_ = static_cast<int>(frame.ui.focus_group);
    frame.ui.focus_group = -1;
    group_ = std::clamp<int>(group_, 0, static_cast<int>(std::max<int64_t>(1, groups)) - 1);
}

void LatentEditorPanel::changed(Frame& frame) { frame.submit(command::PreviewEdit{at_, frame.ui.edits}); }

void LatentEditorPanel::resume(Frame& frame) {
    if (!frame.ui.edits.empty()) frame.submit(command::ResumeEdit{at_, frame.ui.edits, frame.ui.generate});
}

void LatentEditorPanel::draw_group_picker(Frame& frame, float room) {
    const auto& groups = frame.snapshot.sidecar->groups;
    std::vector<std::string> labels;
    float needed = 0;
    for (const auto& group : groups)
        labels.push_back(short_label(group)), needed = std::max(needed, button_width(labels.back().c_str()));
    const auto edited = [&](int g) { return touches_group(frame.ui.edits, g); };
    constexpr const char* kTip = "Layer group: the blocks whose states one latent codes together. A dot marks edits.";
    if (0.8f * needed * groups.size() <= room) {
        segmented("groups", labels, group_, std::min(room, 5 * em() * groups.size()), edited, kTip);
        return;
    }
    ImGui::SetNextItemWidth(std::min(room, 12 * em()));
    if (ImGui::BeginCombo("##group", groups[group_].label.c_str())) {
        for (int g = 0; g < static_cast<int>(groups.size()); ++g)
            if (ImGui::Selectable((groups[g].label + (edited(g) ? "  (edited)" : "")).c_str(), g == group_)) group_ = g;
        ImGui::EndCombo();
    }
    tooltip(kTip);
}

void LatentEditorPanel::draw_part_picker(Frame& frame) {
    if (frame.snapshot.sidecar->joint) {
        part_ = 0;
        ImGui::AlignTextToFramePadding();
        ImGui::TextDisabled("One z for the group's state");
        tooltip(
            "This sidecar codes the hidden states, keys and values of a layer group together: a component moves all of "
            "them. Keys and values of the group's first block are made of the group below.");
        return;
    }
    static const std::string kLabels[] = {"Hidden", "Keys", "Values"};
    const auto edited = [&](int part) { return touches_part(frame.ui.edits, group_, kParts[part]); };
    segmented("parts", kLabels, part_, 0, edited,
              "What is edited: the hidden state after the group's last block, or the keys or values of one block's "
              "attention.");
    const auto& group = frame.snapshot.sidecar->groups[group_];
    block_ = std::clamp(block_, group.first_block, group.last_block);
    if (part_ == 0) return;
    flow(5.6f * em());
    ImGui::SetNextItemWidth(5.6f * em());
    if (ImGui::BeginCombo("##block", ("block " + std::to_string(block_)).c_str())) {
        for (int64_t b = group.first_block; b <= group.last_block; ++b)
            if (ImGui::Selectable(("block " + std::to_string(b)).c_str(), b == block_)) block_ = b;
        ImGui::EndCombo();
    }
    tooltip("Keys and values have a latent of their own in each block.");
}

void LatentEditorPanel::draw_header(Frame& frame) {
    draw_token_chip(frame.snapshot, *find_token(frame.snapshot, frame.snapshot.selected));
    const float width = button_width("Operations..."), room = ImGui::GetContentRegionAvail().x;
    ImGui::SameLine();
    if (ImGui::GetContentRegionAvail().x >= width)
        ImGui::SetCursorPosX(ImGui::GetCursorPosX() + ImGui::GetContentRegionAvail().x - width);
    else
        ImGui::NewLine();
    if (operations_.draw(frame, scope())) changed(frame);
    if (room > 60 * em()) {  // one line holds both
        draw_group_picker(frame, 0.55f * room);
        ImGui::SameLine(0, em());
    } else {
        draw_group_picker(frame, room);
    }
    draw_part_picker(frame);
    flow(3.7f * em());
    sliders_.draw_controls();
    draw_chips(frame);
}

void LatentEditorPanel::draw_chips(Frame& frame) {
    auto& edits = frame.ui.edits;
    const TokenRef b = operations_.b();
    if (b.position >= 0) {
        const TokenView* token = find_token(frame.snapshot, b);
        small_label("B: token " + std::to_string(b.position) + " of thought " + std::to_string(b.thought) +
                        (token != nullptr ? " \"" + visible(token->text) + "\"" : ""),
                    palette::text_dim);
        tooltip(
            "The other token, for copying and mixing (Operations). Point at a token and press B to choose another.");
    }
    if (edits.empty()) {  // keeps the line, so that the sliders do not move when the first edit appears
        const float y = ImGui::GetCursorPosY(), height = std::floor(1.35f * em());
        ImGui::SetCursorPosY(y + (height - small_height()) / 2);
        small_label("No pending edits: drag a slider to make one.", palette::text_dim);
        ImGui::SetCursorPosY(y + height + ImGui::GetStyle().ItemSpacing.y);
        return;
    }
    ImGui::SetNextWindowSizeConstraints({0, 0}, {FLT_MAX, 4.6f * em()});
    ImGui::BeginChild("chips", {0, 0}, ImGuiChildFlags_AutoResizeY);
    ImGui::PushStyleVar(ImGuiStyleVar_ItemSpacing, {0.4f * em(), 0.25f * em()});
    int removed = -1;
    for (int i = 0; i < static_cast<int>(edits.size()); ++i) {
        const std::string text = describe(edits[i], *frame.snapshot.sidecar);
        if (i > 0) flow(small_width(text) + 1.7f * em());
        ImGui::PushID(i);
        if (draw_chip(text)) removed = i;
        ImGui::PopID();
    }
    ImGui::PopStyleVar();
    ImGui::EndChild();
    if (removed >= 0) {
        edits.erase(edits.begin() + removed);
        changed(frame);
    }
}

void LatentEditorPanel::draw_sliders(Frame& frame) {
    const LatentView& latent = *frame.snapshot.latent;
    const auto& rows = part_ == 0 ? latent.hidden : part_ == 1 ? latent.key : latent.value;
    const size_t row = part_ == 0 ? group_ : block_;
    if (row >= rows.size()) {
        small_label("This part has no latent in the loaded sidecar.", palette::text_dim);
        return;
    }
    const auto& group = frame.snapshot.sidecar->groups[group_];
    const auto& by_block = part_ == 1 ? frame.snapshot.sidecar->key_explained : frame.snapshot.sidecar->value_explained;
    std::span<const float> explained = group.explained;
    if (part_ != 0) explained = row < by_block.size() ? std::span(by_block[row]) : std::span<const float>{};
    const auto result = sliders_.draw(frame, scope(), rows[row], explained, at_.position);
    if (result.changed) changed(frame);
    if (result.released && branch_on_release_) resume(frame);
}

void LatentEditorPanel::draw_body(Frame& frame, float height) {
    const bool wide = ImGui::GetContentRegionAvail().x > 34 * em();
    const ImVec2 room = {ImGui::GetContentRegionAvail().x, height};
    const float bar = 0.6f * em();
    const ImVec2 spacing = ImGui::GetStyle().ItemSpacing;
    ImGui::PushStyleVar(ImGuiStyleVar_ItemSpacing, {0, 0});
    const auto spaced = [&](const char* name, ImVec2 size, auto&& draw) {
        ImGui::BeginChild(name, size);
        ImGui::PushStyleVar(ImGuiStyleVar_ItemSpacing, spacing);
        draw();
        ImGui::PopStyleVar();
        ImGui::EndChild();
    };
    const ImVec2 first = wide ? ImVec2(std::floor((room.x - bar) * split_), room.y)
                              : ImVec2(room.x, std::floor((room.y - bar) * split_));
    spaced("sliders", first, [&] { draw_sliders(frame); });
    if (wide) ImGui::SameLine();
    splitter("split", wide, bar, wide ? room.y : room.x, wide ? room.x : room.y, split_);
    if (wide) ImGui::SameLine();
    spaced("preview", wide ? ImVec2(0, room.y) : ImVec2(room.x, std::max(2 * em(), room.y - bar - first.y)),
           [&] { draw_preview(frame); });
    ImGui::PopStyleVar();
}

void LatentEditorPanel::draw_footer(Frame& frame) {
    const bool ready = !frame.ui.edits.empty();
    ImGui::BeginDisabled(!ready);
    if (ready) {
        ImGui::PushStyleColor(ImGuiCol_Button, palette::accent);
        ImGui::PushStyleColor(ImGuiCol_ButtonHovered, with_alpha(palette::accent, 0.85f));
        ImGui::PushStyleColor(ImGuiCol_ButtonActive, with_alpha(palette::accent, 0.7f));
        ImGui::PushStyleColor(ImGuiCol_Text, readable_on(palette::accent));
    }
    bool go = ImGui::Button("Resume from here");
    if (ready) ImGui::PopStyleColor(4);
    tooltip("Generates on from the edited state as a new thought beside the original. Enter does the same.");
    ImGui::SameLine();
    if (ImGui::Button("Reset all")) frame.ui.edits.clear(), changed(frame);
    tooltip("Removes every pending edit of this token.");
    ImGui::EndDisabled();
    flow(button_width("Branch on release") + ImGui::GetFrameHeight());
    ImGui::PushStyleVar(ImGuiStyleVar_FrameBorderSize, 1);
    ImGui::Checkbox("Branch on release", &branch_on_release_);
    ImGui::PopStyleVar();
    tooltip("On: letting go of a slider makes the counterfactual branch at once. Off: you decide with the button.");
    if (ready && ImGui::Shortcut(ImGuiKey_Enter)) go = true;
    if (go) resume(frame);
}

void LatentEditorPanel::draw(Frame& frame) {
    follow_selection(frame);
    follow_focus(frame);
    if (frame.ui.hovered.position >= 0 && !ImGui::GetIO().WantTextInput && ImGui::IsKeyPressed(ImGuiKey_B, false))
        operations_.mark_as_b(frame.ui.hovered);
    if (draw_missing(frame)) return;
    draw_header(frame);
    const float gap = ImGui::GetStyle().ItemSpacing.y, footer = ImGui::GetFrameHeight() + gap;
    draw_body(frame, std::max(8 * em(), ImGui::GetContentRegionAvail().y - footer));
    ImGui::SetCursorPosY(ImGui::GetCursorPosY() + gap);
    draw_footer(frame);
}

}  // namespace savepoint::views
