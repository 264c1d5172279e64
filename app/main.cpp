// Savepoint: the window, or the command line where a command is given.

#include <unistd.h>

#include <CLI/CLI.hpp>
#include <chrono>
#include <cstdlib>
#include <iostream>

#include "app/cli/cli.h"
#include "app/frame_time.h"
#include "app/window.h"
#include "core/workbench/workbench.h"

namespace {

using namespace savepoint;

struct Arguments {
    std::string model, session, data = default_data_folder(), device = "auto", screenshot, size;
    int threads = 0;
    bool no_fit = false;
};

// OpenMP threads that spin for as long as they wait take the processor from the window; threads that sleep at once are
// woken hundreds of times in a forward pass, which makes it a third slower. So they spin for some ten microseconds, and
// sleep then. libgomp reads its settings when it is loaded, which is before main(): the program starts itself once
// more.
void restart_with_patient_threads(char** argv) {
    if (std::getenv("OMP_WAIT_POLICY")) return;
    setenv("OMP_WAIT_POLICY", "PASSIVE", 1);
    if (!std::getenv("GOMP_SPINCOUNT")) setenv("GOMP_SPINCOUNT", "2000", 1);
    execv("/proc/self/exe", argv);  // on failure the program just goes on as it is
}

std::string default_model() {
    const char* named = std::getenv("SAVEPOINT_MODEL");
    return named && *named ? named : SAVEPOINT_DEFAULT_MODEL;
}

std::unique_ptr<Workbench> open_workbench(const Arguments& arguments, const app::Settings& settings) {
    WorkbenchOptions options;
    options.data_folder = arguments.data;
    options.device = arguments.device;
    options.threads = arguments.threads;
    options.fit_when_missing = !arguments.no_fit;
    options.memory_budget = settings.memory_budget;
    options.mark_threshold = settings.mark_threshold;
    auto workbench = std::make_unique<Workbench>(options);
    workbench->submit(command::LoadModel{arguments.model.empty() ? default_model() : arguments.model});
    if (!arguments.session.empty()) workbench->submit(command::OpenSession{arguments.session});
    return workbench;
}

app::Door door_of(Workbench& workbench) {
    return {[&] { return workbench.snapshot(); }, [&](Command command) { workbench.submit(std::move(command)); }};
}

int run_window(const Arguments& arguments) {
    app::Settings settings = app::load_settings(app::config_folder());
    const auto workbench = open_workbench(arguments, settings);
    {
        app::Window window(settings, door_of(*workbench));
        workbench->on_change([&] { window.wake(); });
        window.run();
        workbench->on_change({});
    }
    app::save_settings(settings);
    return 0;
}

// A picture of the window for the documentation: the same with or without a display.
int take_screenshot(const Arguments& arguments) {
    app::Settings settings;
    settings.tour_seen = true;
    if (!arguments.size.empty() &&
        (std::sscanf(arguments.size.c_str(), "%dx%d", &settings.width, &settings.height) != 2 || settings.width < 320 ||
         settings.height < 240 || settings.width > 8192 || settings.height > 8192)) {
        std::cerr << "savepoint: --size: WIDTHxHEIGHT is expected, from 320x240 to 8192x8192\n";
        return 2;
    }
    const auto workbench = open_workbench(arguments, settings);
    app::WindowOptions options;
    options.without_display = true, options.keep_layout = false;
    app::Window window(settings, door_of(*workbench), options);
    for (int i = 0; i < 8; ++i) window.frame();  // panels ask for what they show
    workbench->wait_idle(std::chrono::minutes(10));
    for (int i = 0; i < 12; ++i) {
        window.frame();
        workbench->wait_idle(std::chrono::minutes(1));
    }
    window.write_picture(arguments.screenshot);
    return 0;
}

}  // namespace

int main(int argc, char** argv) {
    restart_with_patient_threads(argv);
    if (savepoint::is_cli_command(argc, argv)) return savepoint::run_cli(argc, argv, savepoint::frame_milliseconds);
    Arguments arguments;
    CLI::App app(
        "Savepoint: save, inspect, edit and resume the internal state of a local transformer.\n"
        "Without a command it opens the window. Commands: generate, logits, score, fit, evaluate, edit, session, bench "
        "(savepoint COMMAND --help).",
        "savepoint");
    app.set_version_flag("--version", SAVEPOINT_VERSION);
    app.add_option("--model", arguments.model, "Model file (GGUF)");
    app.add_option("--session,session", arguments.session, "Session folder to open");
    app.add_option("--data", arguments.data, "Folder of fitted sidecars")->capture_default_str();
    app.add_option("--device", arguments.device, "cpu, cuda or auto")
        ->check(CLI::IsMember({"cpu", "cuda", "auto"}))
        ->capture_default_str();
    app.add_option("--threads", arguments.threads, "Threads; 0: the processors this process may use")
        ->check(CLI::Range(0, 1024));
    app.add_flag("--no-fit", arguments.no_fit, "Do not fit a sidecar when there is none");
    app.add_option("--screenshot", arguments.screenshot, "Write a picture of the window to this PNG file and exit");
    app.add_option("--size", arguments.size, "Size of that picture, as 1600x900");
    CLI11_PARSE(app, argc, argv);
    try {
        return arguments.screenshot.empty() ? run_window(arguments) : take_screenshot(arguments);
    } catch (const std::exception& problem) {
        std::cerr << "savepoint: " << problem.what() << "\n";
        return 1;
    }
}
