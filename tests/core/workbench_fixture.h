#pragma once

#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <thread>

#include "core/workbench/workbench.h"

// libtorch's logging has a CHECK of its own, which ends the process: doctest's must be the later one.
#undef CHECK
#include <doctest/doctest.h>

// Drives a Workbench as its users do: commands in, snapshots out. Nothing of the rooms behind it.
namespace savepoint::test {

using namespace std::chrono_literals;

inline std::string model_path() {
    const char* path = std::getenv("SAVEPOINT_MODEL");
    return path ? path : "";
}

// Small enough to be fitted in seconds, large enough to be a sidecar.
inline FitSettings small_fit() {
    FitSettings fit;
    fit.form = SidecarForm::separate;
    fit.pca.group_size = 3;
    fit.pca.hidden_components = 192;
    fit.pca.key_components = 96;
    fit.pca.value_components = 96;
    fit.sequence_length = 128;
    fit.fit_tokens = 2048;
    fit.calibration_tokens = 1024;
    fit.own_samples = 0;
    return fit;
}

class TemporaryFolder {
   public:
    explicit TemporaryFolder(const std::string& name)
        : path_(std::filesystem::temp_directory_path() / ("savepoint-" + name + "-" + std::to_string(::getpid()))) {
        std::filesystem::remove_all(path_);
        std::filesystem::create_directories(path_);
    }
    ~TemporaryFolder() {
        std::error_code ignored;
        std::filesystem::remove_all(path_, ignored);
    }
    std::string file(const std::string& name) const { return (path_ / name).string(); }
    const std::filesystem::path& path() const { return path_; }

   private:
    std::filesystem::path path_;
};

inline size_t lines_of(const std::string& path) {
    std::ifstream file(path);
    std::string line;
    size_t lines = 0;
    while (std::getline(file, line)) ++lines;
    return lines;
}

// Kept between runs, so that only the first test fits.
inline std::string kept_data_folder() {
    const char* data = std::getenv("SAVEPOINT_DATA");
    const std::filesystem::path base = data ? data : std::filesystem::temp_directory_path().string();
    return (base / "workbench-tests-2").string();
}

inline WorkbenchOptions small_options() {
    WorkbenchOptions options;
    options.data_folder = kept_data_folder();
    options.device = "cpu";
    options.fit = small_fit();
    options.tuned_lens_tokens = 2048;
    return options;
}

inline WorkbenchOptions options_without_sidecar() {
    WorkbenchOptions options = small_options();
    options.data_folder = "";
    options.fit_when_missing = false;
    return options;
}

class Bench {
   public:
    explicit Bench(WorkbenchOptions options = small_options()) : workbench(std::move(options)) {}

    // With the model loaded and, if the options say so, the sidecar fitted.
    static std::unique_ptr<Bench> ready(WorkbenchOptions options = small_options()) {
        auto bench = std::make_unique<Bench>(std::move(options));
        bench->workbench.submit(command::LoadModel{model_path()});
        bench->settle();
        REQUIRE(bench->now()->model->phase == Phase::ready);
        return bench;
    }

    std::shared_ptr<const Snapshot> now() const { return workbench.snapshot(); }
    void send(Command command) { workbench.submit(std::move(command)); }
    void settle() { REQUIRE(workbench.wait_idle(240s, true)); }
    void finish_commands() { REQUIRE(workbench.wait_idle(240s, false)); }

    // The same workbench for every test of a program, with nothing in it.
    static Bench& shared(bool sidecar = true) {
        static std::unique_ptr<Bench> with, without;
        std::unique_ptr<Bench>& bench = sidecar ? with : without;
        if (!bench) bench = ready(sidecar ? small_options() : options_without_sidecar());
        bench->after(command::NewSession{}, true);
        bench->after(command::SetAnomalyChoice{});
        bench->after(command::SetPruning{});
        bench->after(command::SetMarkThreshold{kMarkThreshold});
        for (const ErrorView& error : bench->now()->errors) bench->after(command::DismissError{error.id});
        return *bench;
    }

    // Sends, waits until it is done, and returns the snapshot after it.
    std::shared_ptr<const Snapshot> after(Command command, bool background = false) {
        send(std::move(command));
        background ? settle() : finish_commands();
        return now();
    }

    template <typename Condition>
    bool wait_for(Condition condition, std::chrono::milliseconds timeout = 60s) const {
        const auto end = std::chrono::steady_clock::now() + timeout;
        while (std::chrono::steady_clock::now() < end) {
            if (condition(*now())) return true;
            std::this_thread::sleep_for(2ms);
        }
        return false;
    }

    Workbench workbench;
};

inline GenerateSettings greedy(int64_t tokens) {
    GenerateSettings settings;
    settings.sampler.greedy = true;
    settings.max_tokens = tokens;
    settings.ignore_end = true;
    return settings;
}

inline GenerateSettings seeded(int64_t tokens, uint64_t seed) {
    GenerateSettings settings;
    settings.sampler.seed = seed;
    settings.sampler.temperature = 1.0f;
    settings.sampler.top_p = 1.0f;
    settings.max_tokens = tokens;
    settings.ignore_end = true;
    return settings;
}

inline command::Generate raw(const std::string& prompt, GenerateSettings settings) {
    command::Generate generate;
    generate.prompt = prompt;
    generate.chat = false;
    generate.settings = settings;
    return generate;
}

inline command::Generate chat(const std::string& prompt, GenerateSettings settings, ThoughtId after = 0) {
    command::Generate generate;
    generate.prompt = prompt;
    generate.settings = settings;
    generate.after = after;
    return generate;
}

inline LatentEdit set_component(int64_t token, int64_t group, int64_t component, double amount) {
    LatentEdit edit;
    edit.first_token = edit.last_token = token;
    edit.group = group;
    edit.component = component;
    edit.amount = amount;
    return edit;
}

inline std::vector<TokenId> ids_of(const Snapshot& snapshot) {
    std::vector<TokenId> ids;
    if (snapshot.path)
        for (const auto& token : snapshot.path->tokens) ids.push_back(token->id);
    return ids;
}

inline std::vector<TokenId> part(const std::vector<TokenId>& ids, int64_t first, int64_t count) {
    return {ids.begin() + first, ids.begin() + first + count};
}

inline const ThoughtView* thought(const Snapshot& snapshot, ThoughtId id) {
    for (const ThoughtView& view : snapshot.graph->thoughts)
        if (view.id == id) return &view;
    return nullptr;
}

inline std::string errors_of(const Snapshot& snapshot) {
    std::string text;
    for (const ErrorView& error : snapshot.errors) text += error.title + ": " + error.message + "\n";
    return text;
}

}  // namespace savepoint::test
