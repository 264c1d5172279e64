#include <cmath>
#include <fstream>
#include <iomanip>

#include "app/cli/causal_runs.h"
#include "app/cli/progress_line.h"
#include "core/analysis/drift.h"
#include "core/analysis/learned_phi.h"
#include "core/model/error.h"
#include "core/state/files.h"
#include "core/workbench/text.h"

namespace savepoint::cli {

namespace {

struct DriftArguments {
    RunArguments runs;
    DriftSettings settings;
    std::string phi = "elu1", rotary = "before", csv;
};

// [pairs][rows][heads]
nlohmann::json nested(const DriftMap& map) {
    nlohmann::json pairs = nlohmann::json::array();
    for (size_t at = 0; at < map.distance.size();) {
        nlohmann::json rows = nlohmann::json::array();
        for (int64_t row = 0; row < map.rows; ++row, at += static_cast<size_t>(map.heads))
            rows.push_back(std::vector<float>(map.distance.begin() + static_cast<ptrdiff_t>(at),
                                              map.distance.begin() + static_cast<ptrdiff_t>(at) + map.heads));
        pairs.push_back(std::move(rows));
    }
    return pairs;
}

nlohmann::json described(const DriftMap& map, const Alignment& alignment) {
    nlohmann::json first;
    if (map.first) {
        const AlignedPair& pair = alignment.pairs[static_cast<size_t>(map.first->pair)];
        first = {{"pair", map.first->pair},
                 {"a", pair.a},
                 {"b", pair.b},
                 {"row", map.first->row},
                 {"head", map.first->head},
                 {"distance", map.first->distance},
                 {"band", map.first->band}};
    }
    return {{"part", to_string(map.part)}, {"rows", map.rows}, {"heads", map.heads},
            {"noise", map.noise},          {"first", first},   {"distance", nested(map)}};
}

void write_table(const std::string& path, const Drift& drift, const nlohmann::json& runs) {
    std::ostringstream out;
    out << "part,position_a,position_b,token_a,token_b,same_token,row,head,distance\n";
    for (const DriftMap& map : drift.maps())
        for (size_t i = 0; i < map.distance.size(); ++i) {
            const auto cells = static_cast<size_t>(map.rows * map.heads);
            const auto& pair = runs["pairs"][i / cells];
            out << to_string(map.part) << "," << pair["a"] << "," << pair["b"] << ","
                << csv_field(displayable(pair["text_a"].get<std::string>())) << ","
                << csv_field(displayable(pair["text_b"].get<std::string>())) << ","
                << (pair["same"].get<bool>() ? 1 : 0) << "," << static_cast<int64_t>(i % cells) / map.heads << ","
                << static_cast<int64_t>(i % cells) % map.heads << "," << csv_number(map.distance[i]) << "\n";
        }
    write_atomically(path, out.str());
}

void print(const Drift& drift, const RunPair& runs, const nlohmann::json& described_runs) {
    const auto& pairs = drift.alignment().pairs;
    std::cout << runs.alignment.shared << " tokens shared, " << pairs.size() << " aligned (" << kAlignmentRule << ")\n"
              << "part\tfirst out of the band\tdistance (1: as far as unrelated texts)\tband\n";
    for (const DriftMap& map : drift.maps()) {
        std::cout << to_string(map.part) << "\t";
        if (!map.first) {
            std::cout << "nowhere\t\t" << std::max<double>(map.noise, drift.settings().band) << "\n";
            continue;
        }
        const auto& pair = described_runs["pairs"][static_cast<size_t>(map.first->pair)];
        std::cout << "token " << pair["a"] << " "
                  << pair["text_a"].dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) << ", "
                  << (map.part == DriftPart::latent ? "group " : "layer ") << map.first->row;
        if (map.heads > 1) std::cout << ", head " << map.first->head;
        std::cout << "\t" << map.first->distance << "\t" << map.first->band << "\n";
    }
}

int drift(const Common& common, const DriftArguments& given) {
    DriftArguments arguments = given;
    arguments.settings.phi.kind = phi_from(arguments.phi);
    arguments.settings.phi.rotary = arguments.rotary == "after";
    const OpenModel model(common);
    const RunPair runs = read_runs(model, arguments.runs);
    // Latents need a fitted sidecar; everything else does not.
    const std::string sha256 = model.weights->sha256(), folder = fit_folder(common, sha256);
    const auto sidecar = load_fit(folder, model.weights).sidecar;
    DriftScaleFit scale(model.transformer, unrelated_texts(model.tokenizer),
                        phi_for(arguments.settings.phi, model.transformer.config(), folder, sha256), sidecar);
    run_to_end(scale);
    Drift drift(model.transformer, runs.a.state, runs.b.state, runs.alignment, scale.result(), sidecar,
                arguments.settings);
    run_to_end(drift);
    const nlohmann::json aligned = cli::described(model, runs);
    if (!arguments.csv.empty()) write_table(arguments.csv, drift, aligned);
    if (!common.json) {
        print(drift, runs, aligned);
        return 0;
    }
    nlohmann::json maps = nlohmann::json::array();
    for (const DriftMap& map : drift.maps()) maps.push_back(described(map, runs.alignment));
    print_json({{"alignment", aligned},
                {"band", arguments.settings.band},
                {"phi", arguments.phi},
                {"rotary", arguments.rotary},
                {"unrelated", {{"texts", scale.result()->runs()}, {"tokens", scale.result()->length()}}},
                {"maps", maps}});
    return 0;
}

}  // namespace

void add_drift(Registry registry) {
    auto arguments = std::make_shared<DriftArguments>();
    CLI::App* command = add_command(registry, "drift", "Where two thoughts or texts part: token, layer and head");
    add_run_options(*command, arguments->runs);
    command
        ->add_option("--band", arguments->settings.band, "Distances up to this share of an unrelated text's are noise")
        ->check(CLI::Range(0.0, 100.0))
        ->capture_default_str();
    command
        ->add_option("--from", arguments->settings.first_token, "Look for the first drift from this token of run a on")
        ->check(CLI::NonNegativeNumber);
    command
        ->add_option("--phi", arguments->phi,
                     "Feature map of the linear-attention state: identity, elu1, relu, squared_relu, exp, favor, dpfp, "
                     "hedgehog (learned by `savepoint phi`)")
        ->capture_default_str();
    command
        ->add_option("--rotary", arguments->rotary,
                     "Keys of the linear-attention state before or after rotary embedding")
        ->check(CLI::IsMember({"before", "after"}))
        ->capture_default_str();
    command->add_option("--csv", arguments->csv, "Write every distance into this file");
    command->callback([registry, arguments] {
        registry.chosen = [&common = registry.common, arguments] { return drift(common, *arguments); };
    });
}

}  // namespace savepoint::cli
