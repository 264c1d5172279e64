#include <algorithm>
#include <cmath>
#include <sstream>

#include "app/cli/causal_runs.h"
#include "app/cli/progress_line.h"
#include "core/analysis/patch_map.h"
#include "core/model/error.h"
#include "core/state/files.h"
#include "core/workbench/text.h"

namespace savepoint::cli {

namespace {

struct PatchArguments {
    RunArguments runs;
    std::vector<std::string> sites{"resid", "attention", "mlp", "head"};
    std::string target, distractor, csv;
    int64_t end_a = -1, end_b = -1;
    PatchSettings settings;
};

void choose_outcome(RunPair& runs, const PatchArguments& arguments) {
    const bool texts = !arguments.runs.text_a.empty();
    if (!texts && (arguments.end_a < 0 || arguments.end_b < 0)) {
        const auto first = first_outcome(runs.a.state, runs.b.state, runs.alignment.pairs);
        const AlignedPair last = runs.alignment.pairs.empty() ? AlignedPair{} : runs.alignment.pairs.back();
        const AlignedPair pair = first ? runs.alignment.pairs[static_cast<size_t>(*first)] : last;
        runs.a.end = pair.a, runs.b.end = pair.b;
    }
    if (arguments.end_a >= 0) runs.a.end = arguments.end_a;
    if (arguments.end_b >= 0) runs.b.end = arguments.end_b;
}

PatchTarget choose_target(const OpenModel& model, const RunPair& runs, const Patching& patching,
                          const PatchArguments& arguments) {
    PatchTarget target = default_target(patching.source_logits(), patching.destination_logits());
    const auto a = static_cast<size_t>(runs.a.end) + 1, b = static_cast<size_t>(runs.b.end) + 1;
    const auto &ids_a = runs.a.state.ids, &ids_b = runs.b.state.ids;
    if (a < ids_a.size() && b < ids_b.size() && ids_a[a] != ids_b[b]) target = {ids_a[a], ids_b[b]};
    if (!arguments.target.empty()) target.target = one_token(model, arguments.target, "--target");
    if (!arguments.distractor.empty()) target.distractor = one_token(model, arguments.distractor, "--distractor");
    return target;
}

nlohmann::json table_of(const std::vector<float>& values, int64_t columns) {
    nlohmann::json rows = nlohmann::json::array();
    for (auto row = values.begin(); row != values.end(); row += columns)
        rows.push_back(std::vector<float>(row, row + columns));
    return rows;
}

std::vector<float> recovered(const PatchScores& map, float from, float to) {
    std::vector<float> share;
    for (const float value : map.logit_difference)
        share.push_back(std::abs(to - from) < 1e-3f ? NAN : (value - from) / (to - from));
    return share;
}

void write_table(const std::string& path, const PatchMap& map, const nlohmann::json& runs) {
    std::ostringstream out;
    out << "site,layer,head,position_source,position_destination,token,logit_difference,recovered,kl\n";
    for (const PatchScores& scores : map.maps()) {
        const auto share = recovered(scores, map.destination().logit_difference, map.source().logit_difference);
        for (size_t i = 0; i < share.size(); ++i) {
            const auto columns = static_cast<size_t>(scores.columns);
            out << to_string(scores.site) << ",";
            if (!scores.of_pairs()) {
                out << i / columns << "," << i % columns << ",,,";
            } else {
                const auto& pair = runs["pairs"][i % columns];
                if (scores.head_layer >= 0)
                    out << scores.head_layer << "," << i / columns;
                else
                    out << i / columns << ",";
                out << "," << pair["a"] << "," << pair["b"] << ","
                    << csv_field(displayable(pair["text_b"].get<std::string>()));
            }
            out << "," << csv_number(scores.logit_difference[i]) << "," << csv_number(share[i]) << ","
                << csv_number(scores.kl[i]) << "\n";
        }
    }
    write_atomically(path, out.str());
}

void print(const PatchMap& map, const nlohmann::json& result) {
    std::cout << "logit of " << result["target"]["text"] << " over " << result["distractor"]["text"] << ": "
              << map.source().logit_difference << " in the source, " << map.destination().logit_difference
              << " in the destination, KL " << map.destination().kl << " nats; " << map.cells_run()
              << " cells patched\n"
              << "site\tlayer\ttoken or head\trecovered\tKL\n";
    for (const PatchScores& scores : map.maps()) {
        const auto share = recovered(scores, map.destination().logit_difference, map.source().logit_difference);
        std::vector<size_t> order;
        for (size_t i = 0; i < share.size(); ++i)
            if (std::isfinite(share[i])) order.push_back(i);
        const size_t shown = std::min<size_t>(5, order.size());
        std::partial_sort(order.begin(), order.begin() + static_cast<ptrdiff_t>(shown), order.end(),
                          [&](size_t x, size_t y) { return share[x] > share[y]; });
        for (size_t i = 0; i < shown; ++i) {
            const size_t column = order[i] % static_cast<size_t>(scores.columns);
            std::cout << to_string(scores.site) << "\t";
            if (scores.head_layer >= 0) std::cout << scores.head_layer << ", head ";
            std::cout << order[i] / static_cast<size_t>(scores.columns) << "\t" << column;
            if (scores.of_pairs())
                std::cout << " "
                          << result["alignment"]["pairs"][column]["text_b"].dump(
                                 -1, ' ', false, nlohmann::json::error_handler_t::replace);
            std::cout << "\t" << share[order[i]] << "\t" << scores.kl[order[i]] << "\n";
        }
    }
}

int patch(const Common& common, const PatchArguments& given) {
    PatchArguments arguments = given;
    arguments.settings.sites.clear();
    for (const std::string& site : arguments.sites) arguments.settings.sites.push_back(patch_site_from(site));
    const OpenModel model(common);
    RunPair runs = read_runs(model, arguments.runs);
    choose_outcome(runs, arguments);
    const Patching patching(model.transformer, runs.a, runs.b, runs.alignment.pairs);
    PatchMap map(patching, arguments.settings, choose_target(model, runs, patching, arguments));
    run_to_end(map);

    nlohmann::json result{
        {"alignment", described(model, runs)},
        {"end_a", runs.a.end},
        {"end_b", runs.b.end},
        {"target", {{"id", map.target().target}, {"text", model.tokenizer.piece(map.target().target)}}},
        {"distractor", {{"id", map.target().distractor}, {"text", model.tokenizer.piece(map.target().distractor)}}},
        {"source", {{"logit_difference", map.source().logit_difference}}},
        {"destination", {{"logit_difference", map.destination().logit_difference}, {"kl", map.destination().kl}}},
        {"cells_run", map.cells_run()},
        {"maps", nlohmann::json::array()}};
    for (const PatchScores& scores : map.maps())
        result["maps"].push_back({{"site", to_string(scores.site)},
                                  {"head_layer", scores.head_layer},
                                  {"logit_difference", table_of(scores.logit_difference, scores.columns)},
                                  {"recovered", table_of(recovered(scores, map.destination().logit_difference,
                                                                   map.source().logit_difference),
                                                         scores.columns)},
                                  {"kl", table_of(scores.kl, scores.columns)}});
    if (!arguments.csv.empty()) write_table(arguments.csv, map, result["alignment"]);
    common.json ? print_json(result) : print(map, result);
    return 0;
}

}  // namespace

void add_patch(Registry registry) {
    auto arguments = std::make_shared<PatchArguments>();
    CLI::App* command =
        add_command(registry, "patch", "Activation patching: which place of run b turns its outcome into run a's");
    add_run_options(*command, arguments->runs);
    command->add_option("--site", arguments->sites, "What is patched: resid, attention, mlp, head, separated by commas")
        ->delimiter(',')
        ->check(CLI::IsMember({"resid", "attention", "mlp", "head"}));
    command->add_option("--end-a", arguments->end_a, "Token of run a whose next-token distribution is its outcome")
        ->check(CLI::NonNegativeNumber);
    command->add_option("--end-b", arguments->end_b, "The same of run b")->check(CLI::NonNegativeNumber);
    command->add_option("--target", arguments->target, "Token that run a prefers, as text with its space");
    command->add_option("--distractor", arguments->distractor, "Token that run b prefers");
    command
        ->add_option("--head-token", arguments->settings.head_pair,
                     "Patch heads at this aligned token alone; -1: at all of them at once")
        ->check(CLI::Range(int64_t{-1}, int64_t{1} << 20))
        ->capture_default_str();
    command
        ->add_option("--head-layer", arguments->settings.head_layer,
                     "Patch the heads of this layer token by token too, a map of heads by tokens")
        ->check(CLI::Range(int64_t{0}, int64_t{1} << 20));
    command->add_option("--csv", arguments->csv, "Write every score into this file");
    command->callback([registry, arguments] {
        registry.chosen = [&common = registry.common, arguments] { return patch(common, *arguments); };
    });
}

}  // namespace savepoint::cli
