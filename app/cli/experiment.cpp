#include <cstdio>

#include "app/cli/commands.h"
#include "app/cli/progress_line.h"
#include "core/analysis/builtin_experiments.h"
#include "core/analysis/experiment.h"
#include "core/analysis/experiment_report.h"
#include "core/analysis/learned_phi.h"
#include "core/model/error.h"
#include "core/state/json_fields.h"
#include "core/state/safetensors.h"

namespace savepoint::cli {

namespace {

struct ExperimentArguments {
    std::string file, builtin, out;
    bool list = false;
};

int list_builtin(const Common& common) {
    nlohmann::json all = nlohmann::json::array();
    for (const BuiltinExperiment& one : builtin_experiments()) {
        all.push_back({{"name", one.name}, {"about", one.about}});
        if (!common.json) std::cout << one.name << "\t" << one.about << "\n";
    }
    if (common.json) print_json(all);
    return 0;
}

ExperimentSettings settings_of(const ExperimentArguments& arguments) {
    if (arguments.file.empty() == arguments.builtin.empty())
        throw InputError("experiment: give a FILE.json or --builtin NAME (--list shows the names)");
    if (!arguments.file.empty())
        return experiment_from(parse_json(read_file(arguments.file), arguments.file), arguments.file);
    ExperimentSettings settings;
    settings.name = settings.builtin = arguments.builtin;
    return settings;
}

void print_summary(const Experiment& experiment) {
    const nlohmann::json all = to_json(experiment.result(), experiment.settings(), false);
    std::printf("%s: %s normal texts fitted, %s tested, %s left out by length matching, %.0f s\n\n",
                experiment.settings().name.c_str(), all["fitted"].dump().c_str(), all["tested"].dump().c_str(),
                all["left_out"].dump().c_str(), all["seconds"].get<double>());
    std::printf(
        "| | choice | AUROC | 95 %% | other half | AUPRC | FPR at 95 %% TPR |\n| --- | --- | --- | --- | --- | --- | "
        "--- |\n");
    for (const auto& row : all["summary"])
        std::printf("| %s | %s | %.3f | %.2f-%.2f | %.3f | %.3f | %.3f |\n", row["role"].get<std::string>().c_str(),
                    row["name"].get<std::string>().c_str(), row["auroc"].get<double>(), row["auroc_low"].get<double>(),
                    row["auroc_high"].get<double>(), row["auroc_judge_half"].get<double>(), row["auprc"].get<double>(),
                    row["fpr_at_95_tpr"].get<double>());
}

int run_experiment(const Common& common, const ExperimentArguments& arguments) {
    if (arguments.list) return list_builtin(common);
    const ExperimentSettings settings = settings_of(arguments);
    const OpenModel model(common);
    const std::string folder = fit_folder(common, model.weights->sha256());
    Experiment experiment(model.transformer, model.tokenizer, settings,
                          load_learned_phi(folder, settings.rotary, model.weights->sha256()));
    ProgressLine line;
    for (; !experiment.done(); experiment.step()) line.show(experiment.progress(), experiment.stage());
    line.clear();
    if (!arguments.out.empty()) {
        write_report(arguments.out, experiment.result(), experiment.settings());
        std::cerr << arguments.out << "/report.html\n";
    }
    if (common.json)
        print_json(to_json(experiment.result(), experiment.settings(), false));
    else
        print_summary(experiment);
    return 0;
}

}  // namespace

void add_experiment(Registry registry) {
    auto arguments = std::make_shared<ExperimentArguments>();
    CLI::App* command = add_command(registry, "experiment",
                                    "Whether the linear-attention state tells anomalous texts from normal ones, beside "
                                    "activations, length, log-probability and a linear probe");
    command->add_option("file", arguments->file, "Settings and data (JSON; README says how)")->check(CLI::ExistingFile);
    command->add_option("--builtin", arguments->builtin, "One that needs no file");
    command->add_flag("--list", arguments->list, "The names of those");
    command->add_option("--out", arguments->out, "Folder for report.html, rows.csv and report.json");
    command->callback([registry, arguments] {
        registry.chosen = [&common = registry.common, arguments] { return run_experiment(common, *arguments); };
    });
}

}  // namespace savepoint::cli
