// How long a frame of the whole window takes while a large map is panned, zoomed and turned, as drawn by this machine's
// OpenGL (LIBGL_ALWAYS_SOFTWARE=1: Mesa's llvmpipe).
//   bench_map_frames [POINTS] [WIDTHxHEIGHT]      default 100000 1600x900; prints one JSON; needs no display
// cpu_ms is the time of all threads together: with two free processors a frame takes between half of it and all of it.

#include <imgui.h>
#include <imgui_internal.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <iostream>
#include <nlohmann/json.hpp>

#include "app/window.h"
#include "tests/views/sample_projection.h"
#include "tests/views/sample_snapshot.h"

using namespace savepoint;

namespace {

// Of all threads: what a frame costs whatever else runs on the machine.
double process_seconds() {
    timespec time{};
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
    return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
}

using Move = std::function<void(ImGuiIO& io, ImVec2 centre, int frame)>;

nlohmann::json time_frames(app::Window& window, const Move& move) {
    constexpr int kFrames = 60;
    const ImRect panel = ImGui::FindWindowByName("Projection")->Rect();
    const ImVec2 centre = {panel.GetCenter().x, panel.Min.y + 0.65f * panel.GetHeight()};
    ImGuiIO& io = ImGui::GetIO();
    io.AddMousePosEvent(centre.x, centre.y);
    for (int i = 0; i < 3; ++i) window.frame(), window.finish();
    std::vector<double> milliseconds;
    const double cpu = process_seconds();
    for (int i = 0; i < kFrames; ++i) {
        const auto start = std::chrono::steady_clock::now();
        move(io, centre, i);
        window.frame();
        window.finish();
        milliseconds.push_back(
            std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start).count());
    }
    const double cpu_ms = 1000 * (process_seconds() - cpu) / kFrames;
    io.AddMouseButtonEvent(0, false);
    window.frame();
    std::sort(milliseconds.begin(), milliseconds.end());
    return {{"p5_ms", milliseconds[kFrames / 20]},
            {"median_ms", milliseconds[kFrames / 2]},
            {"p95_ms", milliseconds[kFrames * 95 / 100]},
            {"cpu_ms", cpu_ms}};
}

void drag(ImGuiIO& io, ImVec2 centre, int frame) {
    if (frame == 0) io.AddMouseButtonEvent(0, true);
    const float turn = 0.2f * static_cast<float>(frame);
    io.AddMousePosEvent(centre.x + 60 * std::sin(turn), centre.y + 30 * std::sin(2 * turn));
}

void zoom(ImGuiIO& io, ImVec2 centre, int frame) {
    io.AddMousePosEvent(centre.x, centre.y);
    io.AddMouseWheelEvent(0, frame < 30 ? 0.4f : -0.4f);
}

void rest(ImGuiIO&, ImVec2, int) {}

}  // namespace

int main(int argc, char** argv) {
    const int64_t points = argc > 1 ? std::atoll(argv[1]) : 100000;
    app::Settings settings;
    settings.width = 1600, settings.height = 900, settings.tour_seen = true;
    if (argc > 2) std::sscanf(argv[2], "%dx%d", &settings.width, &settings.height);
    std::shared_ptr<const Snapshot> shown;
    app::WindowOptions options;
    options.without_display = true, options.keep_layout = false;
    app::Window window(settings, {[&] { return shown; }, [](Command) {}}, options);
    nlohmann::json out = {{"points", points}, {"width", settings.width}, {"height", settings.height}};
    for (const int dimensions : {2, 3}) {
        auto snapshot = test::sample_snapshot();
        snapshot->projection = test::large_projection(points, dimensions);
        snapshot->version = static_cast<uint64_t>(dimensions);
        shown = snapshot;
        for (int i = 0; i < 12; ++i) window.frame();  // the layout brings panels of its own forward
        window.shell().show_panel("Projection");
        const auto in_front = [] {
            const ImGuiWindow* panel = ImGui::FindWindowByName("Projection");
            return panel != nullptr && panel->Active && !panel->Hidden;
        };
        for (int i = 0; i < 200 && (i < 20 || !in_front()); ++i) window.frame();
        if (!in_front()) return std::fprintf(stderr, "the panel did not come forward\n"), 1;
        const std::string kind = std::to_string(dimensions) + "d ";
        out[kind + "at rest"] = time_frames(window, rest);
        out[kind + (dimensions == 2 ? "pan" : "turn")] = time_frames(window, drag);
        out[kind + "zoom"] = time_frames(window, zoom);
        const char* pictures = std::getenv("SAVEPOINT_PICTURES");
        if (pictures) window.write_picture(std::string(pictures) + "/map-" + std::to_string(dimensions) + "d.png");
    }
    std::cout << out.dump(1) << std::endl;
    return 0;
}
