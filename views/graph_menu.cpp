// The thought graph's right-click menu and the small dialogs that it opens.

#include <imgui.h>
#include <imgui_stdlib.h>

#include "views/graph_panel.h"
#include "views/keep_menu.h"
#include "views/palette.h"
#include "views/widgets.h"

namespace savepoint::views {
namespace {

const ThoughtView* find(const GraphView& graph, ThoughtId id) {
    for (const ThoughtView& thought : graph.thoughts)
        if (thought.id == id) return &thought;
    return nullptr;
}

bool has_children(const GraphView& graph, ThoughtId id) {
    for (const ThoughtView& thought : graph.thoughts)
        if (thought.parent == id || thought.other_parent == id) return true;
    return false;
}

}  // namespace

void GraphPanel::draw_menu(Frame& frame) {
    if (menu_pending_) ImGui::OpenPopup("thought menu");
    menu_pending_ = false;
    if (!ImGui::BeginPopup("thought menu")) return;
    const GraphView& graph = *frame.snapshot.graph;
    const ThoughtView* thought = find(graph, menu_);
    if (!thought) {
        ImGui::CloseCurrentPopup();
        ImGui::EndPopup();
        return;
    }
    const TokenRef end = {thought->id, thought->path_tokens - 1};
    ImGui::TextDisabled("thought %lld, %s", static_cast<long long>(thought->id), edge_name(thought->edge));
    ImGui::Separator();
    if (ImGui::MenuItem("Make current", nullptr, false, thought->id != frame.snapshot.current))
        frame.submit(command::SetCurrent{thought->id});
    if (ImGui::MenuItem("Continue")) frame.submit(command::Continue{thought->id, frame.ui.generate});
    if (ImGui::MenuItem("Branch here")) frame.submit(command::BranchHere{end, frame.ui.generate});
    if (ImGui::MenuItem("Rewind here")) frame.submit(command::RewindHere{end});
    if (ImGui::BeginMenu("Keep as z")) {
        keep_as_z_entries(frame, thought->id);
        ImGui::EndMenu();
    }
    ImGui::Separator();
    if (ImGui::MenuItem(thought->bookmarked ? "Remove bookmark" : "Bookmark"))
        frame.submit(command::Bookmark{thought->id, !thought->bookmarked});
    if (ImGui::MenuItem("Rename...")) editing_ = Editing::label, editing_opened_ = true, text_ = thought->label;
    if (ImGui::MenuItem("Note...")) editing_ = Editing::note, editing_opened_ = true, text_ = thought->note;
    ImGui::Separator();
    const bool leaf = !has_children(graph, thought->id);
    if (ImGui::MenuItem("Remove", nullptr, false, leaf && !thought->generating))
        frame.submit(command::RemoveThought{thought->id});
    if (!leaf) tooltip("Only a thought that nothing else came from can be removed.");
    ImGui::EndPopup();
}

void GraphPanel::draw_editing(Frame& frame) {
    const bool label = editing_ == Editing::label;
    if (editing_opened_) ImGui::OpenPopup("edit thought");
    ImGui::SetNextWindowPos(ImGui::GetMainViewport()->GetCenter(), ImGuiCond_Appearing, {0.5f, 0.5f});
    if (!ImGui::BeginPopupModal("edit thought", nullptr,
                                ImGuiWindowFlags_AlwaysAutoResize | ImGuiWindowFlags_NoTitleBar))
        return;
    const float em = ImGui::GetFontSize();
    ImGui::Text(label ? "Name of thought %lld" : "Note on thought %lld", static_cast<long long>(menu_));
    if (editing_opened_) ImGui::SetKeyboardFocusHere();
    editing_opened_ = false;
    ImGui::SetNextItemWidth(24 * em);
    bool done = label ? ImGui::InputText("##text", &text_,
                                         ImGuiInputTextFlags_EnterReturnsTrue | ImGuiInputTextFlags_AutoSelectAll)
                      : ImGui::InputTextMultiline("##text", &text_, {24 * em, 5 * em}, ImGuiInputTextFlags_WordWrap);
    if (!label) done = false;
    if (ImGui::Button("OK", {6 * em, 0})) done = true;
    ImGui::SameLine();
    const bool cancel = ImGui::Button("Cancel", {6 * em, 0}) || ImGui::IsKeyPressed(ImGuiKey_Escape, false);
    if (done && label)
        frame.submit(command::Rename{menu_, text_});
    else if (done)
        frame.submit(command::SetNote{menu_, text_});
    if (done || cancel) ImGui::CloseCurrentPopup();
    ImGui::EndPopup();
}

std::vector<std::pair<std::string, std::function<void(Frame&)>>> GraphPanel::actions() {
    const auto on_current = [](auto act) {
        return [act](Frame& frame) {
            if (const ThoughtView* thought = find(*frame.snapshot.graph, frame.snapshot.current)) act(frame, *thought);
        };
    };
    return {{"Fit the thought graph", [](Frame& frame) { frame.ui.request_fit_graph = true; }},
            {"Bookmark the current thought", on_current([](Frame& f, const ThoughtView& t) {
                 f.submit(command::Bookmark{t.id, !t.bookmarked});
             })},
            {"Rename the current thought", on_current([this](Frame&, const ThoughtView& t) {
                 menu_ = t.id, editing_ = Editing::label, editing_opened_ = true, text_ = t.label;
             })},
            {"Note on the current thought", on_current([this](Frame&, const ThoughtView& t) {
                 menu_ = t.id, editing_ = Editing::note, editing_opened_ = true, text_ = t.note;
             })},
            {"Keep the current thought as z, by the sidecar", on_current([](Frame& f, const ThoughtView& t) {
                 f.submit(command::KeepAsLatent{t.id, {}});
             })},
            {"Remove the current thought",
             on_current([](Frame& f, const ThoughtView& t) { f.submit(command::RemoveThought{t.id}); })}};
}

}  // namespace savepoint::views
