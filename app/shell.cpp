#include "app/shell.h"

#include <imgui_internal.h>

#include <algorithm>
#include <cmath>

#include "app/layout.h"
#include "app/status_bar.h"
#include "app/theme.h"
#include "views/chart.h"
#include "views/keep_menu.h"
#include "views/panels.h"
#include "views/widgets.h"

namespace savepoint::app {

using views::Frame;

namespace {

ThoughtId root_of(const GraphView& graph, ThoughtId id) {
    // Parents come before their children, so one pass from the end follows the line up.
    for (auto thought = graph.thoughts.rbegin(); thought != graph.thoughts.rend(); ++thought)
        if (thought->id == id && thought->parent != 0) id = thought->parent;
    return id;
}

}  // namespace

Shell::Shell(Settings& settings, std::function<void(Command)> submit)
    : settings_(settings), submit_(std::move(submit)), panels_(views::make_panels()) {
    ui_.colour = settings.colour;
    ui_.generate = settings.generate;
    for (const auto& panel : panels_)
        panel->open =
            std::find(settings.closed.begin(), settings.closed.end(), panel->title()) == settings.closed.end();
    if (!settings.tour_seen) tour_.start();
}

Shell::~Shell() = default;

std::string Shell::window_title(const Snapshot& snapshot) const {
    return session_name(snapshot.session) + (snapshot.session.modified ? "* - Savepoint" : " - Savepoint");
}

void Shell::prepare(const Snapshot& snapshot, float scale) {
    if (applied_font_ != settings_.font_size || applied_scale_ != scale) {
        applied_font_ = settings_.font_size, applied_scale_ = scale;
        apply_theme(applied_font_, scale);
    }
    follow_session(snapshot);
    keep_position(snapshot);
    if (pending_layout_.empty()) return;
    ImGui::LoadIniSettingsFromMemory(pending_layout_.c_str(), pending_layout_.size());
    pending_layout_.clear();
}

// A session that was opened brings its own colours and arrangement; one that was saved becomes a recent one.
void Shell::follow_session(const Snapshot& snapshot) {
    const SessionView& session = snapshot.session;
    if (session.folder != last_folder_ && !session.folder.empty()) settings_.remember_session(session.folder);
    last_folder_ = session.folder;
    if (session.opened == opened_) return;
    opened_ = session.opened;
    shown_ = snapshot.current, left_ = {};
    ui_.edits.clear();
    if (!session.view.empty()) read_view_json(session.view, ui_.colour, pending_layout_);
}

// A branch and its original are compared at the same position: when the one takes the place of the other, in the
// transcript, what was selected there is selected here. It may have to be waited for: a branch grows.
void Shell::keep_position(const Snapshot& snapshot) {
    if (snapshot.current != shown_) {
        const bool related =
            shown_ != 0 && root_of(*snapshot.graph, shown_) == root_of(*snapshot.graph, snapshot.current);
        left_ = related ? snapshot.selected : TokenRef{};
        shown_ = snapshot.current;
    }
    if (left_.position < 0 || !snapshot.path || snapshot.path->thought != shown_) return;
    const auto& tokens = snapshot.path->tokens;
    const bool there = left_.position < static_cast<int64_t>(tokens.size());
    if (snapshot.selected == left_ && !there && snapshot.path->generating) return;
    if (snapshot.selected == left_ && there && !views::find_token(snapshot, left_))
        submit_(command::Select{{tokens[left_.position]->thought, left_.position}});
    left_ = {};
}

void Shell::draw(const Snapshot& snapshot) {
    snapshot_ = &snapshot;
    ui_.redraw_in = INFINITY;
    ui_.hovered = ui_.hovering;
    ui_.hovering = {};
    ui_.wants_attention_mass = false;
    Frame frame{snapshot, submit_, ui_};
    for (auto& act : std::exchange(pending_, {})) act(frame);
    draw_menu(frame);
    if (draw_status_bar(frame) || std::exchange(memory_wanted_, false)) memory_.open(snapshot.status);
    draw_dockspace();
    draw_panels(frame);
    watch_attention_mass(snapshot);
    if (!ui_.show_panel.empty()) show_panel(std::exchange(ui_.show_panel, {}));
    take_shortcuts(frame);
    draw_dialogs(frame);
    settings_.colour = ui_.colour;
    settings_.generate = ui_.generate;
    settings_.mark_threshold = snapshot.mark_threshold;
    settings_.closed.clear();
    for (const auto& panel : panels_)
        if (!panel->open) settings_.closed.push_back(panel->title());
    // What a panel noticed in this frame shows in the next: one more is needed when the hovered token changes.
    if (!(ui_.hovered == ui_.hovering)) ui_.redraw_after(0);
    first_frame_ = false;
    snapshot_ = nullptr;
}

// It costs time that grows with the square of the path, and is added up only while somebody looks.
void Shell::watch_attention_mass(const Snapshot& snapshot) {
    if (ui_.wants_attention_mass == snapshot.watches_attention_mass || asked_in_ == snapshot.version) return;
    asked_in_ = snapshot.version;
    submit_(command::WatchAttentionMass{ui_.wants_attention_mass});
}

void Shell::draw_dockspace() {
    dockspace_ = ImHashStr("Savepoint dockspace");
    const ImGuiViewport* view = ImGui::GetMainViewport();
    const bool fresh = ImGui::DockBuilderGetNode(dockspace_) == nullptr;
    if (reset_layout_)
        for (auto& panel : panels_) panel->open = true;
    if (fresh || reset_layout_) {
        const float bar = ImGui::GetFrameHeight();
        build_default_layout(dockspace_, {view->WorkSize.x, view->WorkSize.y - (fresh ? bar : 0)});
        front_ = {"Trajectory", "Latent editor", "Anomaly", "Transcript"};
    }
    if (!fresh && !reset_layout_) keep_shares(dockspace_, view->WorkSize);
    reset_layout_ = false;
    ImGui::PushStyleColor(ImGuiCol_WindowBg, 0);  // as docked panels: Window has cleared to their colour
    ImGui::DockSpaceOverViewport(dockspace_, view);
    ImGui::PopStyleColor();
}

namespace {

bool is_docked(const char* title) {
    const ImGuiWindow* window = ImGui::FindWindowByName(title);
    return window && window->DockIsActive;
}

}  // namespace

void Shell::draw_panels(Frame& frame) {
    for (auto& panel : panels_) {
        if (!panel->open) continue;
        ImGui::SetNextWindowSize({30 * ImGui::GetFontSize(), 24 * ImGui::GetFontSize()}, ImGuiCond_FirstUseEver);
        // Each layer of a software renderer costs as much as all the text: what is docked lies on cleared ground.
        if (is_docked(panel->title())) ImGui::SetNextWindowBgAlpha(0);
        const bool visible = ImGui::Begin(
            panel->title(), &panel->open,
            ImGuiWindowFlags_NoCollapse | ImGuiWindowFlags_NoScrollbar | ImGuiWindowFlags_NoScrollWithMouse);
        // After Begin the last item is the window's tab.
        if (ImGui::IsItemHovered(ImGuiHoveredFlags_DelayNormal | ImGuiHoveredFlags_Stationary))
            views::tooltip(panel->help());
        if (visible) panel->draw(frame);
        ImGui::End();
    }
    if (front_.empty()) return;
    ui_.redraw_after(0);
    // A docked window knows its node only once it has been drawn: focusing it then brings its tab forward.
    const ImGuiWindow* window = ImGui::FindWindowByName(front_.front().c_str());
    if (!window || !window->WasActive) return;
    ImGui::SetWindowFocus(front_.front().c_str());
    front_.erase(front_.begin());
}

void Shell::show_panel(const std::string& title) {
    for (auto& panel : panels_)
        if (title == panel->title()) panel->open = true;
    front_.push_back(title);
    ui_.redraw_after(0);
}

void Shell::draw_menu(Frame& frame) {
    ImGui::PushStyleVar(ImGuiStyleVar_WindowBorderSize, 0);
    const bool open = ImGui::BeginMainMenuBar();
    ImGui::PopStyleVar();
    if (!open) return;
    if (ImGui::BeginMenu("File")) {
        draw_file_menu(frame);
        ImGui::EndMenu();
    }
    if (ImGui::BeginMenu("Edit")) {
        const bool has_parent =
            std::any_of(frame.snapshot.graph->thoughts.begin(), frame.snapshot.graph->thoughts.end(),
                        [&](const ThoughtView& t) { return t.id == frame.snapshot.current && t.parent != 0; });
        if (ImGui::MenuItem("Go to parent", "Ctrl+Z", false, has_parent)) go_to_parent();
        views::tooltip("Back to the thought that the current one came from. Nothing is lost: this is how to undo.");
        if (ImGui::BeginMenu("Keep as z", frame.snapshot.current != 0)) {
            views::keep_as_z_entries(frame, frame.snapshot.current);
            ImGui::EndMenu();
        }
        if (ImGui::MenuItem("Stop generating", "Esc", false, frame.snapshot.status.generating))
            submit_(command::Stop{});
        ImGui::Separator();
        if (ImGui::MenuItem("Memory for states...")) memory_wanted_ = true;
        ImGui::EndMenu();
    }
    if (ImGui::BeginMenu("View")) {
        draw_view_menu(frame);
        ImGui::EndMenu();
    }
    if (ImGui::BeginMenu("Help")) {
        if (ImGui::MenuItem("Two-minute tour")) tour_.start();
        if (ImGui::MenuItem("Command palette", "Ctrl+P")) palette_.open(all_actions(frame));
        if (ImGui::MenuItem("About Savepoint")) about_ = true;
        ImGui::EndMenu();
    }
    ImGui::EndMainMenuBar();
}

void Shell::draw_file_menu(Frame& frame) {
    const bool any = !frame.snapshot.graph->thoughts.empty();
    if (ImGui::MenuItem("New session", "Ctrl+N")) new_session();
    if (ImGui::MenuItem("Open...", "Ctrl+O")) open_session();
    if (ImGui::BeginMenu("Open recent", !settings_.recent.empty())) {
        for (const std::string& folder : std::vector<std::string>(settings_.recent))
            if (ImGui::MenuItem(folder.c_str()))
                guard("opening another session", [this, folder] { submit_(command::OpenSession{folder}); });
        ImGui::EndMenu();
    }
    ImGui::Separator();
    if (ImGui::MenuItem("Save", "Ctrl+S", false, any)) save();
    if (ImGui::MenuItem("Save as...", "Ctrl+Shift+S", false, any)) save_as();
    ImGui::MenuItem("Save exact keys and values", nullptr, &settings_.exact_sessions);
    views::tooltip(
        "On: a reopened session goes on at once. Off: its files are a hundred times smaller, and states come back by "
        "running the model on the path again, bit for bit on this machine; what is kept as z is decoded.");
    ImGui::Separator();
    if (ImGui::MenuItem("Resume from z...", nullptr, false, frame.snapshot.model->phase == Phase::ready))
        resume_from_z();
    views::tooltip(
        "Goes on from a path that was saved as its z alone: Export > z of a thought, or `savepoint latent save`.");
    if (ImGui::BeginMenu("Export", any)) {
        for (const Export& what : exports())
            if (ImGui::MenuItem(what.name)) export_as(what);
        ImGui::EndMenu();
    }
    ImGui::Separator();
    if (ImGui::MenuItem("Open model...")) open_model();
    ImGui::Separator();
    if (ImGui::MenuItem("Quit", "Ctrl+Q")) quit_asked_ = true;
}

void Shell::draw_view_menu(Frame&) {
    for (auto& panel : panels_) {
        if (ImGui::MenuItem(panel->title(), nullptr, panel->open)) {
            if (panel->open)
                panel->open = false;
            else
                show_panel(panel->title());
        }
    }
    ImGui::Separator();
    if (ImGui::MenuItem("Reset layout")) reset_layout_ = true;
    ImGui::Separator();
    if (ImGui::MenuItem("Larger text", "Ctrl+=", false, settings_.font_size < kLargestFont)) change_font(1);
    if (ImGui::MenuItem("Smaller text", "Ctrl+-", false, settings_.font_size > kSmallestFont)) change_font(-1);
    if (ImGui::MenuItem("Default text size", "Ctrl+0")) change_font(0);
}

void Shell::change_font(float by) {
    settings_.font_size = by == 0 ? kDefaultFont : std::clamp(settings_.font_size + by, kSmallestFont, kLargestFont);
    ui_.redraw_after(0);
}

void Shell::draw_dialogs(Frame& frame) {
    if (auto question = std::exchange(ui_.file_question, {}))
        files_.open({question->title, question->accept, question->endings, question->saving, "", question->name,
                     question->chosen});
    if (files_.draw()) ui_.redraw_after(0.03);
    palette_.draw();
    tour_.draw(frame.snapshot, ui_);
    if (tour_.active()) settings_.tour_seen = true;
    if (std::exchange(quit_asked_, false)) guard("quitting", [this] { quits_ = true; });
    draw_unsaved(frame);
    if (const auto bytes = memory_.draw(frame.snapshot.status)) {
        settings_.memory_budget = *bytes;
        submit_(command::SetMemoryBudget{*bytes});
    }
    draw_error(frame);
    draw_about();
}

}  // namespace savepoint::app
