#include "app/cli/cli.h"

#include <cstdio>
#include <cmath>
#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <string_view>

#include "app/cli/commands.h"
#include "core/model/device.h"
#include "core/model/error.h"

#ifndef SAVEPOINT_DEFAULT_MODEL
#define SAVEPOINT_DEFAULT_MODEL ""
#endif

namespace savepoint {

namespace {

struct Subcommand {
    std::string_view name;
    void (*add)(cli::Registry);
};

constexpr Subcommand kCommands[] = {
    {"generate", cli::add_generate}, {"logits", cli::add_logits},       {"score", cli::add_score},
    {"fit", cli::add_fit},           {"evaluate", cli::add_evaluate},   {"edit", cli::add_edit},
    {"effects", cli::add_effects},   {"session", cli::add_session},     {"bench", cli::add_bench},
    {"project", cli::add_project},   {"train", cli::add_train},         {"phi", cli::add_phi},
    {"drift", cli::add_drift},       {"patch", cli::add_patch},         {"experiment", cli::add_experiment},
    {"lens", cli::add_lens},         {"attention", cli::add_attention}, {"diagnose", cli::add_diagnose},
    {"latent", cli::add_latent},
};

std::string default_model() {
    const char* named = std::getenv("SAVEPOINT_MODEL");
    return named && *named ? named : SAVEPOINT_DEFAULT_MODEL;
}

void add_common_options(CLI::App* command, cli::Common& common) {
    command->add_option("--model", common.model, "Model file (GGUF)")->capture_default_str();
    command->add_option("--device", common.device, "cpu, cuda or auto")
        ->check(CLI::IsMember({"cpu", "cuda", "auto"}))
        ->capture_default_str();
    command->add_option("--threads", common.threads, "Threads; 0: the processors this process may use")
        ->check(CLI::Range(0, 1024));
    command->add_option("--data", common.data_folder, "Folder of fitted sidecars")->capture_default_str();
    command->add_flag("--json", common.json, "Print one JSON value");
}

}  // namespace

bool is_cli_command(int argc, char** argv) {
    if (argc < 2) return false;
    return std::any_of(std::begin(kCommands), std::end(kCommands),
                       [&](const Subcommand& command) { return command.name == argv[1]; });
}

int run_cli(int argc, char** argv, FrameTime frame_time) {
    CLI::App app("Save, inspect, edit and resume the internal state of a local transformer.", "savepoint");
    app.require_subcommand(1);
    cli::Common common;
    common.model = default_model();
    common.data_folder = default_data_folder();
    common.frame_time = std::move(frame_time);
    cli::Action chosen;
    const cli::Registry registry{app, common, chosen};
    for (const Subcommand& command : kCommands) command.add(registry);
    try {
        app.parse(argc, argv);
    } catch (const CLI::ParseError& problem) {
        return app.exit(problem, std::cout, std::cerr) == 0 ? 0 : 2;
    }
    try {
        return chosen();
    } catch (const std::exception& problem) {
        std::cerr << "savepoint: " << problem.what() << "\n";
        return 1;
    }
}

namespace cli {

CLI::App* add_command(Registry& registry, const std::string& name, const std::string& about) {
    CLI::App* command = registry.app.add_subcommand(name, about);
    add_common_options(command, registry.common);
    return command;
}

namespace {
std::shared_ptr<const Weights> load_weights(const Common& common) {
    set_threads(common.threads);
    return Weights::from_gguf(common.model);
}
}  // namespace

OpenModel::OpenModel(const Common& common)
    : weights(load_weights(common)),
      tokenizer(common.model),
      transformer(weights, open_device(common.device)),
      fit_folder(cli::fit_folder(common, weights->sha256())) {}

std::string fit_folder(const Common& common, const std::string& model_sha256) {
    return common.data_folder + "/" + model_sha256.substr(0, 16);
}

ReferenceFit::Result stored_fit(const Common& common, const std::shared_ptr<const Weights>& weights) {
    const std::string folder = fit_folder(common, weights->sha256());
    ReferenceFit::Result fit = load_fit(folder, weights);
    if (!fit.sidecar)
        throw Error(folder + ": no fitted sidecar for this model; make one with `savepoint fit --default`");
    return fit;
}

std::vector<TokenId> encode_prompt(const OpenModel& model, const std::string& prompt, bool chat) {
    if (prompt.empty()) throw InputError("--prompt: is empty; give at least one token of text");
    if (!chat) return model.tokenizer.encode_start(prompt);
    const ChatMessage message{"user", prompt};
    return model.tokenizer.encode_start(model.tokenizer.apply_chat_template({&message, 1}));
}

std::unique_ptr<Workbench> open_workbench(const Common& common, bool fit_when_missing) {
    WorkbenchOptions options;
    options.data_folder = common.data_folder;
    options.device = common.device;
    options.threads = common.threads;
    options.fit_when_missing = fit_when_missing;
    auto workbench = std::make_unique<Workbench>(options);
    workbench->submit(command::LoadModel{common.model});
    return workbench;
}

std::shared_ptr<const Snapshot> finish(Workbench& workbench, bool background) {
    workbench.wait_idle(std::chrono::hours(24), background);
    auto snapshot = workbench.snapshot();
    if (snapshot->model->phase == Phase::failed) throw Error(snapshot->model->error);
    if (!snapshot->errors.empty()) throw Error(snapshot->errors.front().message);
    return snapshot;
}

std::string shown(double value, const char* format) {
    if (!std::isfinite(value)) return "-";
    char text[32];
    std::snprintf(text, sizeof text, format, value);
    return text;
}

void print_json(const nlohmann::json& value) {
    std::cout << value.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) << std::endl;
}

nlohmann::json to_json(const std::vector<float>& values) { return values; }

}  // namespace cli

}  // namespace savepoint
