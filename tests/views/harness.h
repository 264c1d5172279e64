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

  int run(const std::string& filter);   // 0: every test passed
  void show(std::shared_ptr<const Snapshot> made_up);      // from now on; submitted() collects what is sent
  void connect(app::Door door);
  std::shared_ptr<const Snapshot> snapshot() const { return door_.snapshot(); }
  std::vector<Command>& submitted() { return submitted_; }
  app::Window& window() { return *window_; }
  app::Settings& settings() { return settings_; }
  ImGuiTestEngine* engine() { return engine_; }
  std::string picture(const std::string& name) const { return pictures_ + "/" + name + ".png"; }

 private:
  void open_window();
  void close_window();

  app::Settings settings_;
  app::Door door_;
  std::vector<Command> submitted_;
  std::unique_ptr<app::Window> window_;
  ImGuiTestEngine* engine_ = nullptr;
  std::string pictures_;
};

// Each file registers its tests.
void register_panel_tests(Harness& harness);
void register_shell_tests(Harness& harness);
void register_workbench_tests(Harness& harness);

// Frames until `condition`, or false after `seconds`.
bool wait_until(ImGuiTestContext* ctx, double seconds, const std::function<bool()>& condition);
void picture_of_all(ImGuiTestContext* ctx, Harness& harness, const std::string& name);

// The last command of type T that was submitted; null when there is none.
template <class T>
const T* last(const std::vector<Command>& commands) {
  for (auto at = commands.rbegin(); at != commands.rend(); ++at)
    if (const T* found = std::get_if<T>(&*at)) return found;
  return nullptr;
}

}  // namespace savepoint::test
