// views_tests [--test FILTER] [--pictures FOLDER] [--small] [--look | --portrait | --train]
//
// The window, driven through its widgets. --look draws made-up sessions to PNG files and tests nothing; --portrait
// makes a real session and draws it, as in the README; --train trains a codec on a file, as a user would. Both are run
// by hand. --small: a window of 1280 x 800 instead of 1600 x 900.

#include <chrono>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <string>

#include "tests/views/harness.h"
#include "tests/views/sample_snapshot.h"

namespace {

using namespace savepoint;

void look(int width, int height, const std::string& pictures) {
    test::Harness harness(width, height, pictures);
    const std::string size = std::to_string(width) + "x" + std::to_string(height);
    const auto draw = [&](const char* name) {
        for (int i = 0; i < 12; ++i) harness.window().frame();
        harness.window().write_picture(harness.picture(std::string(name) + "-" + size));
    };
    draw("window");
    for (const char* panel :
         {"Projection", "Reconstruction", "Rate and distortion", "Model and sidecar", "Jobs and log"}) {
        harness.window().shell().show_panel(panel);
        draw(panel);
    }
    harness.window().shell().show_panel("Anomaly");
    harness.window().shell().ui().colour = views::TokenColour::anomaly;
    harness.window().shell().start_tour();
    draw("tour");
    harness.show(test::large_snapshot(4000, 2000));
    draw("large");
    const auto start = std::chrono::steady_clock::now();
    for (int i = 0; i < 50; ++i) harness.window().frame(), harness.window().finish();
    std::printf("%s: %.1f ms a frame with 4,000 tokens and 2,000 thoughts\n", size.c_str(),
                std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start).count() / 50);
}

void look_empty(const std::string& pictures) {
    test::Harness harness(1280, 800, pictures);
    harness.show(test::empty_snapshot());
    for (int i = 0; i < 12; ++i) harness.window().frame();
    harness.window().write_picture(harness.picture("empty"));
}

int portray(const std::string& pictures) {
    for (const ImVec2 size : {ImVec2(1600, 900), ImVec2(1280, 800)}) {
        test::Harness harness(static_cast<int>(size.x), static_cast<int>(size.y), pictures);
        const std::string name = "portrait-" + std::to_string(static_cast<int>(size.x));
        if (harness.run("portrait", [&](test::Harness& h) { test::register_portrait(h, name); }) != 0) return 1;
    }
    return 0;
}

int run(const std::string& filter, const std::string& pictures, ImVec2 size) {
    {
        test::Harness harness(static_cast<int>(size.x), static_cast<int>(size.y), pictures);
        const auto all = [](test::Harness& h) {
            test::register_panel_tests(h);
            test::register_shell_tests(h);
            test::register_causal_tests(h);
            test::register_experiment_tests(h);
            test::register_projection_tests(h);
            test::register_workbench_tests(h);
        };
        if (harness.run(filter, all) != 0) return 1;
    }
    // As after quitting and starting again.
    const bool toured =
        filter == "all" || filter.find("tour") != std::string::npos || filter.find("program") != std::string::npos;
    if (!toured) return 0;
    test::Harness harness(static_cast<int>(size.x), static_cast<int>(size.y), pictures);
    return harness.run("reopened", test::register_reopening_tests);
}

}  // namespace

int main(int argc, char** argv) {
    // Never in the working folder, where they would be taken for part of the project.
    std::string filter = "all",
                pictures = (std::filesystem::temp_directory_path() / "savepoint-views-pictures").string();
    bool only_look = false, portrait = false, train = false, small = false;
    for (int i = 1; i < argc; ++i) {
        if (!std::strcmp(argv[i], "--test") && i + 1 < argc)
            filter = argv[++i];
        else if (!std::strcmp(argv[i], "--pictures") && i + 1 < argc)
            pictures = argv[++i];
        else if (!std::strcmp(argv[i], "--small"))
            small = true;
        else if (!std::strcmp(argv[i], "--look"))
            only_look = true;
        else if (!std::strcmp(argv[i], "--portrait"))
            portrait = true;
        else if (!std::strcmp(argv[i], "--train"))
            train = true;
        else
            return std::fprintf(stderr,
                                "usage: views_tests [--test FILTER] [--pictures FOLDER] [--small] [--look | --portrait "
                                "| --train]\n"),
                   2;
    }
    if (only_look) {
        look(1600, 900, pictures);
        look(1280, 800, pictures);
        look_empty(pictures);
        return 0;
    }
    if (train) {
        test::Harness harness(small ? 1280 : 1600, small ? 800 : 900, pictures);
        return harness.run("train_on_a_text_file", test::register_training);
    }
    return portrait ? portray(pictures) : run(filter, pictures, small ? ImVec2(1280, 800) : ImVec2(1600, 900));
}
