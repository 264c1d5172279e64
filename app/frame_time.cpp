#include "app/frame_time.h"

#include <algorithm>
#include <chrono>
#include <stdexcept>
#include <vector>

#include "app/window.h"

namespace savepoint {

namespace {

std::vector<double> time_frames(app::Window& window, int count) {
    std::vector<double> milliseconds;
    for (int i = 0; i < count; ++i) {
        const auto start = std::chrono::steady_clock::now();
        window.frame();
        window.finish();
        milliseconds.push_back(
            std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start).count());
    }
    return milliseconds;
}

}  // namespace

std::optional<double> frame_milliseconds(Workbench& workbench) {
    app::Settings settings;
    settings.tour_seen = true;
    app::WindowOptions options;
    options.visible = false, options.offscreen = true, options.keep_layout = false;
    const app::Door door = {[&] { return workbench.snapshot(); },
                            [&](Command command) { workbench.submit(std::move(command)); }};
    try {
        app::Window window(settings, door, options);
        time_frames(window, 20);  // fonts, layouts and textures settle
        std::vector<double> all = time_frames(window, 61);
        std::nth_element(all.begin(), all.begin() + 30, all.end());
        return all[30];
    } catch (const std::runtime_error&) {
        return std::nullopt;
    }
}

}  // namespace savepoint
