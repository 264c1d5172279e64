#include "app/window.h"

#define GL_GLEXT_PROTOTYPES
#define GLFW_INCLUDE_GLCOREARB
#include <GLFW/glfw3.h>
#include <imgui.h>
#include <imgui_impl_glfw.h>
#include <imgui_impl_opengl3.h>
#include <implot.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <stdexcept>
#include <utility>

#include "app/offscreen.h"
#include "app/theme.h"
#include "views/palette.h"
#include "views/widgets.h"

namespace savepoint::app {
namespace {

constexpr double kAwakeAfterInput = 0.6;  // seconds; longer than any tooltip's delay

Window* owner(GLFWwindow* window) { return static_cast<Window*>(glfwGetWindowUserPointer(window)); }

std::string glfw_error() {
    const char* text = nullptr;
    glfwGetError(&text);
    return text ? text : "no reason given";
}

}  // namespace

struct Window::Graphics {
    Fonts fonts;
    Offscreen offscreen;
};

Window::Window(Settings& settings, Door door, WindowOptions options)
    : settings_(settings), door_(std::move(door)), options_(options), graphics_(std::make_unique<Graphics>()) {
    if (options_.without_display) options_.offscreen = true;
    create(options_.without_display);
    start_imgui();
    shell_ = std::make_unique<Shell>(settings_, door_.submit);
}

Window::~Window() {
    shell_.reset();
    if (!layout_file_.empty()) {
        size_t size = 0;
        const char* layout = ImGui::SaveIniSettingsToMemory(&size);
        write_whole_file(layout_file_, std::string(layout, size));
    }
    ImGui_ImplOpenGL3_Shutdown();
    ImGui_ImplGlfw_Shutdown();
    ImPlot::DestroyContext();
    ImGui::DestroyContext();
    graphics_.reset();
    glfwDestroyWindow(window_);
    glfwTerminate();
}

namespace {

// A window no larger than what the first monitor has room for: not every window manager sees to that, and some
// displays have none.
std::pair<int, int> fitting(int width, int height) {
    GLFWmonitor* const monitor = glfwGetPrimaryMonitor();
    int x = 0, y = 0, across = 0, down = 0;
    if (monitor) glfwGetMonitorWorkarea(monitor, &x, &y, &across, &down);
    return {across > 0 ? std::min(width, across) : width, down > 0 ? std::min(height, down) : height};
}

}  // namespace

void Window::create(bool without_display) {
    glfwInitHint(GLFW_PLATFORM, without_display ? GLFW_PLATFORM_NULL : GLFW_ANY_PLATFORM);
    if (!glfwInit())
        throw std::runtime_error("cannot open a window: " + glfw_error() +
                                 ". Is there a display? The command line works without one: savepoint --help");
    glfwWindowHint(GLFW_CONTEXT_VERSION_MAJOR, 3);
    glfwWindowHint(GLFW_CONTEXT_VERSION_MINOR, 3);
    glfwWindowHint(GLFW_OPENGL_PROFILE, GLFW_OPENGL_CORE_PROFILE);
    glfwWindowHint(GLFW_VISIBLE, options_.visible && !without_display);
    glfwWindowHint(GLFW_SCALE_TO_MONITOR, GLFW_TRUE);
    if (without_display) glfwWindowHint(GLFW_CONTEXT_CREATION_API, GLFW_EGL_CONTEXT_API);
    const auto [width, height] = fitting(settings_.width, settings_.height);
    window_ = glfwCreateWindow(width, height, "Savepoint", nullptr, nullptr);
    if (!window_) {
        const std::string reason = glfw_error();
        glfwTerminate();
        throw std::runtime_error("cannot make an OpenGL 3.3 window: " + reason +
                                 ". On a machine without a graphics driver install libgl1-mesa-dri.");
    }
    glfwMakeContextCurrent(window_);
    glfwSwapInterval(options_.offscreen ? 0 : 1);
    if (!without_display) glfwSetWindowSizeLimits(window_, 800, 560, GLFW_DONT_CARE, GLFW_DONT_CARE);
    glfwSetWindowUserPointer(window_, this);
    glfwSetWindowCloseCallback(window_, on_close);
    // Dear ImGui's backend calls these on, so they are set first.
    glfwSetCursorPosCallback(window_, [](GLFWwindow* w, double, double) { on_input(w); });
    glfwSetMouseButtonCallback(window_, [](GLFWwindow* w, int, int, int) { on_input(w); });
    glfwSetScrollCallback(window_, [](GLFWwindow* w, double, double) { on_input(w); });
    glfwSetKeyCallback(window_, [](GLFWwindow* w, int, int, int, int) { on_input(w); });
    glfwSetCharCallback(window_, [](GLFWwindow* w, unsigned int) { on_input(w); });
    glfwSetWindowFocusCallback(window_, [](GLFWwindow* w, int) { on_input(w); });
    glfwSetWindowRefreshCallback(window_, on_input);
    glfwSetFramebufferSizeCallback(window_, [](GLFWwindow* w, int, int) { on_input(w); });
}

void Window::start_imgui() {
    IMGUI_CHECKVERSION();
    ImGui::CreateContext();
    ImPlot::CreateContext();
    ImGuiIO& io = ImGui::GetIO();
    io.ConfigFlags |= ImGuiConfigFlags_DockingEnable | ImGuiConfigFlags_NavEnableKeyboard;
    io.ConfigDockingTransparentPayload = true;
    io.ConfigWindowsMoveFromTitleBarOnly = true;
    io.ConfigInputTextCursorBlink = false;  // a blinking cursor would keep an idle window awake
    io.IniFilename = nullptr;
    graphics_->fonts.load();
    ImGui_ImplGlfw_InitForOpenGL(window_, true);
    ImGui_ImplOpenGL3_Init("#version 330 core");
    load_layout();
}

// Dear ImGui would write its file in place and while the user works; here it is written whole, at the end.
void Window::load_layout() {
    if (!options_.keep_layout || settings_.folder.empty()) return;
    std::error_code error;
    std::filesystem::create_directories(settings_.folder, error);
    layout_file_ = (std::filesystem::path(settings_.folder) / "layout.ini").string();
    if (std::filesystem::exists(layout_file_, error)) ImGui::LoadIniSettingsFromDisk(layout_file_.c_str());
}

void Window::on_close(GLFWwindow* window) {
    glfwSetWindowShouldClose(window, GLFW_FALSE);
    owner(window)->shell_->ask_to_quit();
    on_input(window);
}

void Window::on_input(GLFWwindow* window) {
    Window* self = owner(window);
    self->awake_until_ = glfwGetTime() + kAwakeAfterInput;
    self->frames_due_ = std::max(self->frames_due_, 2);
}

void Window::wake() { glfwPostEmptyEvent(); }

bool Window::done() const { return shell_->quits(); }

void Window::resize(int width, int height) { glfwSetWindowSize(window_, width, height); }

float Window::content_scale() const {
    float x = 1, y = 1;
    glfwGetWindowContentScale(window_, &x, &y);
    return std::clamp(std::max(x, y), 0.75f, 4.0f);
}

void Window::wait() {
    const double awake = awake_until_ - glfwGetTime();
    if (frames_due_ > 0 || awake > 0 || shell_->redraw_in() <= 0) return glfwPollEvents();
    if (std::isinf(shell_->redraw_in()))
        glfwWaitEvents();
    else
        glfwWaitEventsTimeout(shell_->redraw_in());
    frames_due_ = std::max(frames_due_, 1);
}

void Window::run() {
    while (!done()) {
        wait();
        if (glfwGetWindowAttrib(window_, GLFW_ICONIFIED) && !done()) {
            glfwWaitEventsTimeout(0.25);
            continue;
        }
        const auto snapshot = door_.snapshot();
        if (snapshot->version != drawn_version_) frames_due_ = std::max(frames_due_, 2);
        frame();
        int width = 0, height = 0;
        glfwGetWindowSize(window_, &width, &height);
        if (!glfwGetWindowAttrib(window_, GLFW_MAXIMIZED)) settings_.width = width, settings_.height = height;
    }
}

void Window::frame(bool pixels) {
    glfwPollEvents();
    const auto snapshot = door_.snapshot();
    drawn_version_ = snapshot->version;
    frames_due_ = std::max(0, frames_due_ - 1);
    shell_->prepare(*snapshot, content_scale());
    ImGui_ImplOpenGL3_NewFrame();
    ImGui_ImplGlfw_NewFrame();
    ImGui::NewFrame();
    shell_->draw(*snapshot);
    ImGui::Render();
    if (pixels) draw_pixels();
    if (graphics_->fonts.serve(views::take_missing_code_points())) frames_due_ = std::max(frames_due_, 2);
    if (const std::string title = shell_->window_title(*snapshot); title != title_)
        glfwSetWindowTitle(window_, (title_ = title).c_str());
}

void Window::draw_pixels() {
    int width = 0, height = 0;
    glfwGetFramebufferSize(window_, &width, &height);
    if (options_.offscreen) graphics_->offscreen.bind(std::max(width, 1), std::max(height, 1));
    glViewport(0, 0, width, height);
    const ImVec4 clear = ImGui::ColorConvertU32ToFloat4(views::palette::panel);  // the ground of docked panels
    glClearColor(clear.x, clear.y, clear.z, 1);
    glClear(GL_COLOR_BUFFER_BIT);
    ImGui_ImplOpenGL3_RenderDrawData(ImGui::GetDrawData());
    if (options_.offscreen) graphics_->offscreen.unbind();
    glfwSwapBuffers(window_);
}

std::vector<unsigned char> Window::capture(int x, int y, int width, int height) const {
    return graphics_->offscreen.read(x, y, width, height);
}

void Window::write_picture(const std::string& path) const {
    const Offscreen& from = graphics_->offscreen;
    write_png(path, capture(0, 0, from.width(), from.height()), from.width(), from.height());
}

void Window::finish() const { glFinish(); }

}  // namespace savepoint::app
