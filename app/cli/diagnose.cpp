#include <cmath>

#include "app/cli/commands.h"
#include "app/cli/progress_line.h"
#include "core/analysis/collapse.h"
#include "core/model/error.h"

namespace savepoint::cli {

namespace {

nlohmann::json texts(const Tokenizer& tokenizer, const std::vector<std::vector<int32_t>>& all) {
    nlohmann::json shown = nlohmann::json::array();
    for (const auto& ids : all) shown.push_back(tokenizer.decode(ids));
    return shown;
}

nlohmann::json described(const CollapseMetric& metric) {
    nlohmann::json healthy;
    if (metric.judged()) healthy = metric.healthy();
    return {{"name", metric.name},           {"value", metric.value}, {"reference", metric.reference},
            {"threshold", metric.threshold}, {"healthy", healthy},    {"meaning", metric.meaning}};
}

int diagnose(const Common& common, const std::string& subject, CollapseSettings settings) {
    settings.subject = settings.file.empty() ? collapse_subject_from(subject) : CollapseSubject::soft_prompts;
    if (settings.subject == CollapseSubject::soft_prompts && settings.file.empty())
        throw InputError("--soft-prompts: name a safetensors file with prompts [n, length, d_model]");
    const OpenModel model(common);
    std::shared_ptr<const Sidecar> sidecar;
    std::vector<std::vector<TokenId>> prefixes;
    if (settings.subject != CollapseSubject::soft_prompts) {
        sidecar = stored_fit(common, model.weights).sidecar;
        prefixes = collapse_texts(model.tokenizer, settings);
    }
    CollapseRun run(model.transformer, std::move(prefixes), sidecar, settings);
    run_to_end(run);
    const CollapseReport report = run.report();
    if (common.json) {
        nlohmann::json metrics = nlohmann::json::array();
        for (const CollapseMetric& metric : report.metrics) metrics.push_back(described(metric));
        print_json({{"subject", to_string(settings.subject)},
                    {"prompts", report.prompts_done},
                    {"prefix", settings.prefix},
                    {"continuation", settings.continuation},
                    {"metrics", metrics},
                    {"pca_variance", report.pca_variance},
                    {"outputs", texts(model.tokenizer, report.outputs)},
                    {"expected", texts(model.tokenizer, report.expected)}});
        return 0;
    }
    std::cout << to_string(settings.subject) << ", " << report.prompts_done << " prompts\n"
              << "sign\tvalue\tof the model's own\thealthy is\tverdict\n";
    for (const CollapseMetric& metric : report.metrics) {
        std::cout << metric.label << "\t" << metric.value << "\t";
        if (!std::isnan(metric.reference)) std::cout << metric.reference;
        std::cout << "\t" << metric.threshold << "\t"
                  << (!metric.judged()   ? "not known"
                      : metric.healthy() ? "green"
                                         : "red")
                  << "\n";
    }
    return 0;
}

}  // namespace

void add_diagnose(Registry registry) {
    auto subject = std::make_shared<std::string>("sidecar");
    auto settings = std::make_shared<CollapseSettings>();
    CLI::App* command = add_command(registry, "diagnose", "Signs of collapse: do different texts come back different?");
    command->add_option("--subject", *subject, "sidecar (decoded states) or latents (z)")
        ->check(CLI::IsMember({"sidecar", "latents"}))
        ->capture_default_str();
    command->add_option(
        "--soft-prompts", settings->file,
        "Instead: a safetensors file with prompts [n, length, d_model], target_ids [n, tokens] optional");
    command->add_option("--prompts", settings->prompts, "Texts")->check(CLI::Range(2, 4096))->capture_default_str();
    command->add_option("--prefix", settings->prefix, "Tokens of each")
        ->check(CLI::Range(8, 4096))
        ->capture_default_str();
    command->add_option("--continuation", settings->continuation, "Tokens generated after it")
        ->check(CLI::Range(1, 512))
        ->capture_default_str();
    command->add_option("--seed", settings->seed, "Of the choice of texts")->capture_default_str();
    command->callback([registry, subject, settings] {
        registry.chosen = [&common = registry.common, subject, settings] {
            return diagnose(common, *subject, *settings);
        };
    });
}

}  // namespace savepoint::cli
