#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "app/settings.h"
#include "app/shell.h"

struct GLFWwindow;

namespace savepoint::app {

// Where the window's snapshots come from and its commands go: the workbench, or a test's own.
struct Door {
    std::function<std::shared_ptr<const Snapshot>()> snapshot;
    std::function<void(Command)> submit;
};

struct WindowOptions {
    bool visible = true;
    bool offscreen = false;        // draws into a frame buffer that capture() reads, not to the screen
    bool without_display = false;  // no display server is used at all (EGL); implies offscreen
    bool keep_layout = true;       // read and write the arrangement of panels in the settings' folder
};

// The window: GLFW, OpenGL, Dear ImGui and the shell. It draws when something happened and sleeps otherwise.
class Window {
   public:
    // Throws std::runtime_error, with what to do about it, when there is no display or no OpenGL 3.3.
    Window(Settings& settings, Door door, WindowOptions options = {});
    ~Window();
    Window(const Window&) = delete;
    Window& operator=(const Window&) = delete;

    void run();    // until the user quits
    // One frame, at once; takes waiting events first. Without pixels it is laid out but not drawn.
    void frame(bool pixels = true);
    void wake();   // from any thread: draw soon
    bool done() const;
    void resize(int width, int height);
    Shell& shell() { return *shell_; }
    GLFWwindow* handle() { return window_; }

    // What the last frame showed (offscreen windows): RGBA, top row first.
    std::vector<unsigned char> capture(int x, int y, int width, int height) const;
    void write_picture(const std::string& path) const;
    void finish() const;  // waits for the graphics card, to time a frame

   private:
    struct Graphics;
    void create(bool without_display);
    void start_imgui();
    void draw_pixels();
    void load_layout();
    void wait();
    float content_scale() const;
    static void on_close(GLFWwindow* window);
    static void on_input(GLFWwindow* window);

    Settings& settings_;
    Door door_;
    WindowOptions options_;
    GLFWwindow* window_ = nullptr;
    std::unique_ptr<Graphics> graphics_;
    std::unique_ptr<Shell> shell_;
    std::string layout_file_, title_;
    uint64_t drawn_version_ = 0;
    double awake_until_ = 0;  // glfwGetTime(): frames go on this long after input, for delays and animations
    int frames_due_ = 3;
};

}  // namespace savepoint::app
