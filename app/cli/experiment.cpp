#include <algorithm>
#include <cstdio>
#include <filesystem>

#include "app/cli/commands.h"
#include "app/cli/progress_line.h"
#include "core/analysis/builtin_experiments.h"
#include "core/analysis/experiment.h"
#include "core/analysis/experiment_report.h"
#include "core/analysis/experiment_series.h"
#include "core/analysis/learned_phi.h"
#include "core/model/error.h"
#include "core/state/json_fields.h"
#include "core/state/safetensors.h"

namespace savepoint::cli {

namespace {

struct ExperimentArguments {
    std::string file, builtin, out;
    std::vector<std::string> only;
    int64_t most = 240;
    bool list = false, all = false;
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
        throw InputError("experiment: give a FILE.json, --builtin NAME or --all (--list shows the names)");
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
    for (const ScoreCurve& curve : experiment.result().injection.curves)
        std::printf("%s: the mean score of injected texts passes the 95th percentile of normal ones %s\n",
                    curve.name.c_str(),
                    curve.delay < 0 ? "nowhere" : (std::to_string(curve.delay) + " tokens in").c_str());
}

std::vector<ExperimentSettings> series_of(const ExperimentArguments& arguments) {
    std::vector<ExperimentSettings> all = all_builtin_experiments(arguments.most);
    for (const std::string& name : arguments.only)
        if (std::none_of(all.begin(), all.end(), [&](const auto& one) { return one.name == name; }))
            throw InputError("--only: \"" + name + "\" is no built-in experiment (--list shows the names)");
    if (!arguments.only.empty())
        std::erase_if(all, [&](const auto& one) {
            return std::find(arguments.only.begin(), arguments.only.end(), one.name) == arguments.only.end();
        });
    return all;
}

std::string in_folder(const std::string& folder, const std::string& name) {
    return (std::filesystem::path(folder) / name).string();
}

// Each one's report is written as soon as it is done: what was found stays when the rest is interrupted.
int run_all(const Common& common, const ExperimentArguments& arguments) {
    const OpenModel model(common);
    ExperimentSeries series(model.transformer, model.tokenizer, series_of(arguments));
    ProgressLine line;
    size_t written = 0;
    while (!series.done()) {
        line.show(series.progress(), series.stage());
        series.step();
        for (; !arguments.out.empty() && written < series.finished().size(); ++written) {
            const ExperimentSeries::Finished& one = series.finished()[written];
            if (one.refused.empty())
                write_report(in_folder(arguments.out, one.settings.name), one.result, one.settings);
        }
    }
    line.clear();
    const nlohmann::json summary = to_json(series.finished());
    const std::string table = to_markdown(series.finished());
    if (!arguments.out.empty()) {
        write_atomically(in_folder(arguments.out, "summary.json"), summary.dump(1) + "\n");
        write_atomically(in_folder(arguments.out, "summary.md"), table);
        std::cerr << in_folder(arguments.out, "summary.md") << "\n";
    }
    if (common.json) {
        print_json(summary);
        return 0;
    }
    std::cout << table;
    std::printf("\n%.0f s, %.0f s of processor time\n", summary["seconds"].get<double>(),
                summary["cpu_seconds"].get<double>());
    return 0;
}

int run_experiment(const Common& common, const ExperimentArguments& arguments) {
    if (arguments.list) return list_builtin(common);
    if (arguments.all) return run_all(common, arguments);
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
    CLI::Option* all = command->add_flag(
        "--all", arguments->all,
        "Every built-in one by elu1's read-out, at four choices of layers and by all detectors, and one table; with "
        "--out also a report of each");
    command->add_option("--only", arguments->only, "Of --all these alone: NAME,NAME")->delimiter(',')->needs(all);
    command->add_option("--most", arguments->most, "Of --all: texts of each experiment at most")
        ->check(CLI::Range(8, 100000))
        ->capture_default_str()
        ->needs(all);
    command->add_option("--out", arguments->out, "Folder for report.html, rows.csv and report.json");
    command->callback([registry, arguments] {
        registry.chosen = [&common = registry.common, arguments] { return run_experiment(common, *arguments); };
    });
}

}  // namespace savepoint::cli
