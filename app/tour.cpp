#include "app/tour.h"

#include <imgui.h>
#include <imgui_internal.h>

#include <algorithm>
#include <string>

#include "app/theme.h"
#include "views/palette.h"

namespace savepoint::app {
namespace {

using namespace views;

struct Step {
    const char *what, *how;
};

constexpr Step kTexts[Tour::kSteps] = {
    {"Say something", "Type a prompt under Transcript and press Generate. Tokens stream in, each with its state kept."},
    {"Inspect a token", "Click any token. Hover it to see what else the model might have said."},
    {"Find what is unusual", "Choose Anomaly as the colour above the transcript, and look at the Anomaly panel's map."},
    {"Bend a thought", "In the latent editor drag a slider: the next-token distribution moves with it."},
    {"Play on from there", "Press Resume: the edited state goes on as a branch beside the original."},
    {"Compare",
     "Both thoughts are in the graph, their paths under Trajectory. Double-click the first to go back to it."},
    {"Save", "Ctrl+S keeps the whole session. It opens again exactly as it was."}};

void tick(ImVec2 at, float em, bool done, int number) {
    ImDrawList* list = ImGui::GetWindowDrawList();
    const ImVec2 centre = {at.x + 0.7f * em, at.y + 0.55f * em};
    if (done) {
        list->AddCircleFilled(centre, 0.6f * em, palette::good, 20);
        const ImVec2 points[3] = {{centre.x - 0.28f * em, centre.y + 0.02f * em},
                                  {centre.x - 0.06f * em, centre.y + 0.24f * em},
                                  {centre.x + 0.3f * em, centre.y - 0.2f * em}};
        list->AddPolyline(points, 3, IM_COL32(12, 20, 14, 255), 2.0f, 0);
        return;
    }
    list->AddCircle(centre, 0.6f * em, palette::text_dim, 20, 1.2f);
    const std::string text = std::to_string(number);
    const ImVec2 size = ImGui::CalcTextSize(text.c_str());
    list->AddText({centre.x - size.x / 2, centre.y - size.y / 2}, palette::text_dim, text.c_str());
}

// Low in the transcript, above the prompt: where the first minutes' text has not come yet, and nothing that the tour
// talks about is covered. It can be dragged away.
ImVec2 free_corner() {
    const float em = ImGui::GetFontSize();
    const ImGuiWindow* transcript = ImGui::FindWindowByName("Transcript");
    const ImGuiViewport& view = *ImGui::GetMainViewport();
    if (!transcript || !transcript->Active) return {view.WorkPos.x + em, view.WorkPos.y + view.WorkSize.y - em};
    return {transcript->Pos.x + 1.2f * em, transcript->Pos.y + transcript->Size.y - 10 * em};
}

}  // namespace

void Tour::start() {
    done_ = {};
    active_ = true;
}

int Tour::done() const { return static_cast<int>(std::count(done_.begin(), done_.end(), true)); }

void Tour::watch(const Snapshot& s, const SharedUi& ui) {
    const bool generated =
        s.path && std::any_of(s.path->tokens.begin(), s.path->tokens.end(), [](const auto& t) { return !t->prompt; });
    const auto& thoughts = s.graph->thoughts;
    const bool intervened = std::any_of(thoughts.begin(), thoughts.end(),
                                        [](const ThoughtView& t) { return t.edge == EdgeKind::intervention; });
    done_[0] |= generated;
    done_[1] |= generated && s.selected.position >= 0;
    done_[2] |= ui.colour == TokenColour::anomaly;
    done_[3] |= s.preview && !s.preview->edits.empty();
    done_[4] |= intervened;
    const auto current =
        std::find_if(thoughts.begin(), thoughts.end(), [&](const ThoughtView& t) { return t.id == s.current; });
    done_[5] |= done_[4] && current != thoughts.end() && current->edge != EdgeKind::intervention;
    done_[6] |= generated && !s.session.folder.empty() && !s.session.modified;
}

void Tour::draw(const Snapshot& snapshot, const SharedUi& ui) {
    if (!active_) return;
    watch(snapshot, ui);
    const float em = ImGui::GetFontSize();
    const ImGuiWindow* transcript = ImGui::FindWindowByName("Transcript");
    const float width = transcript ? std::clamp(transcript->Size.x - 2.4f * em, 16 * em, 24 * em) : 24 * em;
    ImGui::SetNextWindowPos(free_corner(), ImGuiCond_Appearing, {0, 1});
    ImGui::SetNextWindowSize({width, 0});
    const ImGuiWindowFlags flags = ImGuiWindowFlags_NoDocking | ImGuiWindowFlags_NoResize |
                                   ImGuiWindowFlags_NoCollapse | ImGuiWindowFlags_NoSavedSettings |
                                   ImGuiWindowFlags_NoFocusOnAppearing;
    if (ImGui::Begin("Two-minute tour", &active_, flags)) {
        int next = 0;
        while (next < Tour::kSteps && done_[next]) ++next;
        for (int i = 0; i < Tour::kSteps; ++i) {
            tick(ImGui::GetCursorScreenPos(), em, done_[i], i + 1);
            ImGui::SetCursorPosX(ImGui::GetCursorPosX() + 2 * em);
            ImGui::PushStyleColor(ImGuiCol_Text, done_[i] ? palette::text_dim : palette::text);
            ImGui::TextUnformatted(kTexts[i].what);
            ImGui::PopStyleColor();
            if (i != next) continue;
            ImGui::SetCursorPosX(ImGui::GetCursorPosX() + 2 * em);
            ImGui::PushTextWrapPos(0);
            ImGui::TextDisabled("%s", kTexts[i].how);
            ImGui::PopTextWrapPos();
        }
        if (next == Tour::kSteps) {
            ImGui::Spacing();
            ImGui::TextWrapped("That is the whole loop. Ctrl+P finds everything else.");
            if (ImGui::Button("Close", {-FLT_MIN, 0})) active_ = false;
        }
    }
    ImGui::End();
}

}  // namespace savepoint::app
