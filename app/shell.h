#pragma once

#include <imgui.h>

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "app/command_palette.h"
#include "app/file_dialog.h"
#include "app/memory_dialog.h"
#include "app/settings.h"
#include "app/tour.h"
#include "views/frame.h"

namespace savepoint::app {

// Everything in the window around the panels: dockspace, menu, status bar, palette, dialogs. It draws snapshots and
// submits commands and knows nothing of where either comes from or goes, so a made-up snapshot will do.
class Shell {
   public:
    Shell(Settings& settings, std::function<void(Command)> submit);
    ~Shell();

    // Between frames, before NewFrame: what Dear ImGui cannot change within one.
    void prepare(const Snapshot& snapshot, float scale);
    void draw(const Snapshot& snapshot);

    void ask_to_quit() { quit_asked_ = true; }
    bool quits() const { return quits_; }
    double redraw_in() const { return ui_.redraw_in; }  // seconds; infinity: when something happens
    void start_tour() { tour_.start(); }
    void reset_layout() { reset_layout_ = true; }
    void show_panel(const std::string& title);  // opens it and brings its tab to the front
    views::SharedUi& ui() { return ui_; }
    std::string window_title(const Snapshot& snapshot) const;

   private:
    struct Export {
        const char *what, *name;
    };
    static const std::vector<Export>& exports();
    void resume_from_z();

    void follow_session(const Snapshot& snapshot);
    void keep_position(const Snapshot& snapshot);
    void draw_menu(views::Frame& frame);
    void draw_file_menu(views::Frame& frame);
    void draw_view_menu(views::Frame& frame);
    void watch_attention_mass(const Snapshot& snapshot);
    void draw_dockspace();
    void draw_panels(views::Frame& frame);
    void draw_dialogs(views::Frame& frame);
    void draw_error(views::Frame& frame);
    void draw_unsaved(views::Frame& frame);
    void draw_about();
    void take_shortcuts(views::Frame& frame);
    std::vector<Action> all_actions(views::Frame& frame);
    void add_file_actions(std::vector<Action>& actions);
    void add_view_actions(std::vector<Action>& actions);

    void new_session();
    void open_session();
    void open_model();
    void save();
    void save_as();
    void save_to(const std::string& folder);
    void export_as(const Export& what);
    void go_to_parent();
    void guard(const char* what, std::function<void()> then);  // asks first when there are unsaved changes
    void change_font(float by);

    Settings& settings_;
    std::function<void(Command)> submit_;
    views::SharedUi ui_;
    std::vector<std::unique_ptr<views::Panel>> panels_;
    CommandPalette palette_;
    FileDialog files_;
    MemoryDialog memory_;
    Tour tour_;
    const Snapshot* snapshot_ = nullptr;                       // during draw()
    std::vector<std::function<void(views::Frame&)>> pending_;  // palette entries of panels, run in the next frame
    std::function<void()> after_save_;                         // what the question about unsaved changes was for
    const char* unsaved_for_ = nullptr;
    std::string pending_layout_;
    std::vector<std::string> front_;  // panels to bring forward, one a frame
    std::string last_folder_;
    ThoughtId shown_ = 0;  // the current thought of the last frame
    TokenRef left_;        // the token that was selected when another thought became current; none: position -1
    int64_t opened_ = 0, error_shown_ = 0;
    uint64_t asked_in_ = 0;  // the snapshot in which attention mass was asked for, or no longer was
    float applied_font_ = 0, applied_scale_ = 0;
    ImGuiID dockspace_ = 0;
    bool reset_layout_ = false, memory_wanted_ = false, quit_asked_ = false, quits_ = false, about_ = false,
         saving_ = false, first_frame_ = true;
};

}  // namespace savepoint::app
