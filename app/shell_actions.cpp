// What the shell can do, for its menu, its shortcuts and the command palette.

#include <imgui.h>

#include <filesystem>

#include "app/shell.h"
#include "app/status_bar.h"

namespace savepoint::app {

using views::Frame;

const std::vector<Shell::Export>& Shell::exports() {
    static const std::vector<Export> all = {{"transcript.csv", "Transcript (CSV)"},
                                            {"anomaly.csv", "Anomaly scores (CSV)"},
                                            {"latents.safetensors", "Latents (safetensors)"},
                                            {"z.safetensors", "z of a thought that is kept as z (safetensors)"},
                                            {"trajectory.csv", "Trajectory (CSV)"},
                                            {"projection.csv", "Projection (CSV)"},
                                            {"reconstruction.csv", "Reconstruction (CSV)"},
                                            {"preview.csv", "Preview of the edit (CSV)"},
                                            {"codecs.csv", "Rate and distortion of codecs (CSV)"},
                                            {"drift.csv", "Drift of two thoughts (CSV)"},
                                            {"patch.csv", "Patching map (CSV)"},
                                            {"lens.csv", "Logit lens (CSV)"},
                                            {"attention.csv", "Attention of the token (CSV)"},
                                            {"attention_mass.csv", "Attention that tokens received (CSV)"},
                                            {"diagnosis.csv", "Signs of collapse (CSV)"},
                                            {"phi.csv", "Ranking of feature maps (CSV)"},
                                            {"experiment.html", "Experiment (HTML report)"},
                                            {"experiment.csv", "Experiment (CSV)"},
                                            {"injection.csv", "Experiment, score by token (CSV)"},
                                            {"graph.json", "Thought graph (JSON)"}};
    return all;
}

void Shell::new_session() {
    guard("starting a new session", [this] { submit_(command::NewSession{}); });
}

void Shell::open_session() {
    guard("opening another session", [this] {
        const std::string last =
            settings_.recent.empty() ? "" : std::filesystem::path(settings_.recent[0]).parent_path().string();
        files_.open({"Open session", "Open", {".savepoint"}, false, last, "", [this](const std::string& path) {
                         submit_(command::OpenSession{path});
                     }});
    });
}

void Shell::resume_from_z() {
    const std::string& folder = snapshot_->session.folder;
    const std::string at = folder.empty() ? "" : std::filesystem::path(folder).parent_path().string();
    files_.open({"Resume from z", "Resume", {".safetensors"}, false, at, "", [this](const std::string& path) {
                     submit_(command::ResumeLatent{path});
                 }});
}

void Shell::open_model() {
    const std::string at = snapshot_ ? std::filesystem::path(snapshot_->model->path).parent_path().string() : "";
    files_.open({"Open model", "Open", {".gguf"}, false, at, "", [this](const std::string& path) {
                     submit_(command::LoadModel{path});
                 }});
}

void Shell::save() {
    if (snapshot_->session.folder.empty() || snapshot_->session.read_only)
        save_as();
    else
        save_to(snapshot_->session.folder);
}

void Shell::save_as() {
    const std::string& now = snapshot_->session.folder;
    const std::string at = !now.empty() ? now : settings_.recent.empty() ? "" : settings_.recent[0];
    const std::string folder = at.empty() ? "" : std::filesystem::path(at).parent_path().string();
    const std::string name = now.empty() ? "session.savepoint" : std::filesystem::path(now).filename().string();
    files_.open({"Save session", "Save", {".savepoint"}, true, folder, name, [this](const std::string& path) {
                     save_to(path);
                 }});
}

void Shell::save_to(const std::string& folder) {
    size_t size = 0;
    const char* layout = ImGui::SaveIniSettingsToMemory(&size);
    submit_(command::SaveSession{folder, view_json(ui_.colour, std::string(layout, size)), settings_.exact_sessions});
    saving_ = true;
}

void Shell::export_as(const Export& what) {
    const std::string name = what.what;
    const std::string ending = name.substr(name.find('.'));
    const std::string folder = snapshot_->session.folder.empty()
                                   ? ""
                                   : std::filesystem::path(snapshot_->session.folder).parent_path().string();
    files_.open({"Export", "Export", {ending}, true, folder, name, [this, name](const std::string& path) {
                     submit_(command::Export{name, path});
                 }});
}

void Shell::go_to_parent() {
    for (const ThoughtView& thought : snapshot_->graph->thoughts)
        if (thought.id == snapshot_->current && thought.parent) submit_(command::SetCurrent{thought.parent});
}

void Shell::guard(const char* what, std::function<void()> then) {
    if (!snapshot_ || !snapshot_->session.modified) return then();
    unsaved_for_ = what;
    after_save_ = std::move(then);
}

void Shell::take_shortcuts(Frame& frame) {
    const auto pressed = [](ImGuiKeyChord chord) { return ImGui::Shortcut(chord, ImGuiInputFlags_RouteGlobal); };
    if (ImGui::IsPopupOpen(nullptr, ImGuiPopupFlags_AnyPopupId | ImGuiPopupFlags_AnyPopupLevel)) return;
    const bool any = !frame.snapshot.graph->thoughts.empty();
    if (pressed(ImGuiMod_Ctrl | ImGuiKey_P) || pressed(ImGuiMod_Ctrl | ImGuiMod_Shift | ImGuiKey_P))
        palette_.open(all_actions(frame));
    if (pressed(ImGuiMod_Ctrl | ImGuiKey_S) && any) save();
    if (pressed(ImGuiMod_Ctrl | ImGuiMod_Shift | ImGuiKey_S) && any) save_as();
    if (pressed(ImGuiMod_Ctrl | ImGuiKey_O)) open_session();
    if (pressed(ImGuiMod_Ctrl | ImGuiKey_N)) new_session();
    if (pressed(ImGuiMod_Ctrl | ImGuiKey_Q)) quit_asked_ = true;
    if (pressed(ImGuiMod_Ctrl | ImGuiKey_Z)) go_to_parent();
    if (pressed(ImGuiMod_Ctrl | ImGuiKey_Equal)) change_font(1);
    if (pressed(ImGuiMod_Ctrl | ImGuiKey_Minus)) change_font(-1);
    if (pressed(ImGuiMod_Ctrl | ImGuiKey_0)) change_font(0);
}

std::vector<Action> Shell::all_actions(Frame& frame) {
    std::vector<Action> actions;
    for (auto& panel : panels_) {
        for (auto& [name, act] : panel->actions())
            actions.push_back({name, "", [this, act = act] { pending_.push_back(act), ui_.redraw_after(0); }});
    }
    add_file_actions(actions);
    add_view_actions(actions);
    for (const JobView& job : *frame.snapshot.jobs)
        if (job.cancellable && (job.state == JobView::State::running || job.state == JobView::State::queued))
            actions.push_back(
                {"Cancel the job: " + job.name, "", [this, id = job.id] { submit_(command::CancelJob{id}); }});
    return actions;
}

void Shell::add_file_actions(std::vector<Action>& actions) {
    actions.push_back({"New session", "Ctrl+N", [this] { new_session(); }});
    actions.push_back({"Open a session", "Ctrl+O", [this] { open_session(); }});
    actions.push_back({"Save the session", "Ctrl+S", [this] { save(); }});
    actions.push_back({"Save the session as", "Ctrl+Shift+S", [this] { save_as(); }});
    for (const Export& what : exports())
        actions.push_back({std::string("Export: ") + what.name, "", [this, &what] { export_as(what); }});
    actions.push_back({"Resume from z", "", [this] { resume_from_z(); }});
    actions.push_back({"Open a model", "", [this] { open_model(); }});
    actions.push_back({"Go to the parent thought (undo)", "Ctrl+Z", [this] { go_to_parent(); }});
    actions.push_back({"Quit", "Ctrl+Q", [this] { quit_asked_ = true; }});
}

void Shell::add_view_actions(std::vector<Action>& actions) {
    for (auto& panel : panels_)
        actions.push_back(
            {std::string("Show ") + panel->title(), "", [this, title = panel->title()] { show_panel(title); }});
    actions.push_back({"Memory for states", "", [this] { memory_wanted_ = true; }});
    actions.push_back({"Reset layout", "", [this] { reset_layout_ = true; }});
    actions.push_back({"Larger text", "Ctrl+=", [this] { change_font(1); }});
    actions.push_back({"Smaller text", "Ctrl+-", [this] { change_font(-1); }});
    actions.push_back({"Two-minute tour", "", [this] { tour_.start(); }});
    actions.push_back({"About Savepoint", "", [this] { about_ = true; }});
}

}  // namespace savepoint::app
