#pragma once

#include <imgui.h>
#include <imgui_te_context.h>
#include <imgui_te_engine.h>

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "app/window.h"

namespace savepoint::test {

// The window under test. Tests are driven by their own thread, between frames, so both may be used freely.
// The door can be swapped: a made-up snapshot, or a workbench.
class Harness {
   public:
    Harness(int width, int height, const std::string& pictures);
    ~Harness();

    // Runs the tests that `add` registers and `filter` lets through. 0: every one passed (or none was chosen).
    int run(const std::string& filter, const std::function<void(Harness&)>& add);
    void show(std::shared_ptr<const Snapshot> made_up);  // from now on; submitted() collects what is sent
    void connect(app::Door door);
    // Replaced at any moment: a reference to a part of it needs the snapshot, or the part's own pointer, to be kept.
    std::shared_ptr<const Snapshot> snapshot() const { return door_.snapshot(); }
    std::vector<Command>& submitted() { return submitted_; }
    app::Window& window() { return *window_; }
    app::Settings& settings() { return settings_; }
    ImGuiTestEngine* engine() { return engine_; }
    // Writes the window's picture after the next frame: only the thread that draws can read it back.
    void take_picture(const std::string& name) { wanted_picture_ = picture(name); }
    bool picture_taken() const { return wanted_picture_.empty(); }
    std::string picture(const std::string& name) const { return pictures_ + "/" + name + ".png"; }

   private:
    void open_window();
    void close_window();

    app::Settings settings_;
    app::Door door_;
    std::vector<Command> submitted_;
    std::unique_ptr<app::Window> window_;
    ImGuiTestEngine* engine_ = nullptr;
    std::string pictures_, wanted_picture_;
};

// Each file registers its tests.
void register_panel_tests(Harness& harness);
void register_shell_tests(Harness& harness);
void register_projection_tests(Harness& harness);
void register_workbench_tests(Harness& harness);
void register_causal_tests(Harness& harness);
void register_experiment_tests(Harness& harness);
void register_reopening_tests(Harness& harness);                    // after those, in another window
void register_training(Harness& harness);                           // a real training, three minutes
void register_portrait(Harness& harness, const std::string& name);  // a picture of a real session

// Frames until `condition`, or false after `seconds`.
bool wait_until(ImGuiTestContext* ctx, double seconds, const std::function<bool()>& condition);
// In a file dialog that has just been asked for; an empty name keeps the one that is offered.
void choose_file(ImGuiTestContext* ctx, const char* dialog, const std::string& folder, const char* name = "");
void picture_of_all(ImGuiTestContext* ctx, Harness& harness, const std::string& name);

template <class T>
int count(const std::vector<Command>& commands) {
    int found = 0;
    for (const Command& command : commands) found += std::holds_alternative<T>(command);
    return found;
}

// The last command of type T that was submitted; an empty one when there is none.
template <class T>
T last(const std::vector<Command>& commands) {
    for (auto at = commands.rbegin(); at != commands.rend(); ++at)
        if (const T* found = std::get_if<T>(&*at)) return *found;
    return {};
}

}  // namespace savepoint::test
