#pragma once

// The commands behind cli.cpp, one function each; cli.cpp parses, these do. All throw Error.

#include <CLI/CLI.hpp>
#include <functional>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "app/cli/cli.h"
#include "core/analysis/reference_fit.h"
#include "core/model/tokenizer.h"
#include "core/model/transformer.h"
#include "core/workbench/workbench.h"

namespace savepoint::cli {

struct Common {
    std::string model;  // path of a GGUF file
    std::string device = "auto";
    std::string data_folder;
    int threads = 0;
    bool json = false;
    FrameTime frame_time;
};

// Each adds its subcommand with options to `app` and registers what to run.
using Action = std::function<int()>;
struct Registry {
    CLI::App& app;
    Common& common;
    Action& chosen;
};
void add_generate(Registry registry);
void add_logits(Registry registry);
void add_score(Registry registry);
void add_fit(Registry registry);
void add_evaluate(Registry registry);
void add_edit(Registry registry);
void add_effects(Registry registry);
void add_session(Registry registry);
void add_bench(Registry registry);
void add_latent(Registry registry);
void add_project(Registry registry);
void add_drift(Registry registry);
void add_patch(Registry registry);
void add_lens(Registry registry);
void add_attention(Registry registry);
void add_diagnose(Registry registry);
void add_train(Registry registry);
void add_phi(Registry registry);
void add_experiment(Registry registry);

// -- shared by the commands -----------------------------------------------------------------------------

CLI::App* add_command(Registry& registry, const std::string& name, const std::string& about);

// The model opened without a workbench.
struct OpenModel {
    explicit OpenModel(const Common& common);
    std::shared_ptr<const Weights> weights;
    Tokenizer tokenizer;
    Transformer transformer;
    std::string fit_folder;  // where what is fitted for it is kept
};
// The stored fit of this model; throws Error that says how to make one when there is none.
ReferenceFit::Result stored_fit(const Common& common, const std::shared_ptr<const Weights>& weights);
std::string fit_folder(const Common& common, const std::string& model_sha256);
std::vector<TokenId> encode_prompt(const OpenModel& model, const std::string& prompt, bool chat);

std::unique_ptr<Workbench> open_workbench(const Common& common, bool fit_when_missing);
// Waits until commands and generation (and, if asked, analyses) are done; throws the workbench's first error.
std::shared_ptr<const Snapshot> finish(Workbench& workbench, bool background = false);

std::string shown(double value, const char* format);  // printf's, "-" for NaN and infinity: cells of tables
void print_json(const nlohmann::json& value);         // invalid UTF-8 is replaced, NaN becomes null
nlohmann::json to_json(const std::vector<float>& values);

}  // namespace savepoint::cli
