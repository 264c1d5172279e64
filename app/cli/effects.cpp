#include <algorithm>
#include <cstdio>
#include <fstream>
#include <map>

#include "app/cli/commands.h"
#include "app/cli/held_out.h"
#include "app/cli/progress_line.h"
#include "core/model/error.h"
#include "core/sidecar/edit_effects.h"

namespace savepoint::cli {

namespace {

struct EffectsArguments {
    EditEffectSettings settings;
    std::string sidecar, corpus = "fortunes", csv;
    int64_t length = 128;
    int64_t sequences = 16;
};

double median(std::vector<double> values) {
    const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
    std::nth_element(values.begin(), middle, values.end());
    return *middle;
}

std::string part_name(const Sidecar& sidecar, LatentPart part) { return sidecar.joint() ? "joint" : to_string(part); }

// One part of one layer group: the hidden slot, or the slots of its blocks' keys or values.
struct Row {
    int64_t components = 0, above = 0, slots = 0;
    double noise = 0, within = 0;
    std::vector<double> effects;
    void add(const SlotEffect& slot) {
        components += static_cast<int64_t>(slot.effects.size());
        above += slot.above();
        noise += slot.control_p95;
        within += slot.control_within;
        effects.insert(effects.end(), slot.effects.begin(), slot.effects.end());
        ++slots;
    }
};

void print_table(const Sidecar& sidecar, const std::vector<SlotEffect>& effects) {
    std::map<std::pair<int64_t, LatentPart>, Row> rows;
    for (const SlotEffect& slot : effects) rows[{slot.group, slot.part}].add(slot);
    std::printf(
        "| layer group | part | components | above the noise | effect, median | largest | noise (95th percentile) | "
        "controls within |\n| --- | --- | --- | --- | --- | --- | --- | --- |\n");
    int64_t above = 0, components = 0;
    for (const auto& [at, row] : rows) {
        const auto slots = static_cast<double>(row.slots);
        std::printf("| %s | %s | %lld | %lld | %.2g | %.2g | %.2g | %.0f %% |\n",
                    sidecar.hidden().groups()[static_cast<size_t>(at.first)].label().c_str(),
                    part_name(sidecar, at.second).c_str(), static_cast<long long>(row.components),
                    static_cast<long long>(row.above), median(row.effects),
                    *std::max_element(row.effects.begin(), row.effects.end()), row.noise / slots,
                    100 * row.within / slots);
        above += row.above;
        components += row.components;
    }
    std::printf("%lld of %lld components\n", static_cast<long long>(above), static_cast<long long>(components));
}

nlohmann::json described(const Sidecar& sidecar, const EffectsArguments& arguments,
                         const std::vector<SlotEffect>& effects) {
    nlohmann::json slots = nlohmann::json::array();
    for (const SlotEffect& slot : effects)
        slots.push_back({{"part", part_name(sidecar, slot.part)},
                         {"group", slot.group},
                         {"block", slot.block},
                         {"control_kl_p95", slot.control_p95},
                         {"control_within", slot.control_within},
                         {"above", slot.above()},
                         {"effect_kl", slot.effects}});
    return {{"sidecar", sidecar.hash()},
            {"move_std", arguments.settings.move},
            {"control_tokens", arguments.settings.control_tokens},
            {"edited_tokens", arguments.settings.edited_tokens},
            {"slots", std::move(slots)}};
}

void write_csv(const std::string& path, const Sidecar& sidecar, const std::vector<SlotEffect>& effects) {
    std::ofstream out(path);
    out << "part,group,block,component,effect_kl,control_kl_p95\n";
    for (const SlotEffect& slot : effects)
        for (size_t c = 0; c < slot.effects.size(); ++c)
            out << part_name(sidecar, slot.part) << ',' << slot.group << ',' << slot.block << ',' << c << ','
                << slot.effects[c] << ',' << slot.control_p95 << '\n';
    if (!out.flush()) throw FileError(path, "cannot be written");
}

int effects(const Common& common, const EffectsArguments& arguments) {
    const OpenModel model(common);
    const ReferenceFit::Result fit = asked_fit(common, model, arguments.sidecar);
    const auto texts = unseen_text(model, fit.sidecar->info(), arguments.corpus, arguments.sequences * arguments.length,
                                   arguments.length);
    EditEffects job(model.transformer, fit.sidecar, texts, arguments.settings);
    ProgressLine line;
    for (; !job.done(); job.step()) line.show(job.progress(), "Moving components of z");
    line.clear();
    const std::vector<SlotEffect> effects = job.effects();
    if (!arguments.csv.empty()) write_csv(arguments.csv, *fit.sidecar, effects);
    if (common.json)
        print_json(described(*fit.sidecar, arguments, effects));
    else
        print_table(*fit.sidecar, effects);
    return 0;
}

}  // namespace

void add_effects(Registry registry) {
    auto arguments = std::make_shared<EffectsArguments>();
    EditEffectSettings& s = arguments->settings;
    CLI::App* command = add_command(registry, "effects",
                                    "Which components of z change the next token by more than the codec's own error "
                                    "does, on held-out text");
    command->add_option("--sidecar", arguments->sidecar, "sidecar.safetensors; default: the stored one");
    command->add_option("--corpus", arguments->corpus, "fortunes (its unseen part), a text or JSONL file, or a folder")
        ->capture_default_str();
    command->add_option("--move", s.move, "Standard deviations that a component is moved by, up and down in turn")
        ->capture_default_str();
    command->add_option("--tokens", s.edited_tokens, "Tokens at which every component is moved (half a minute each)")
        ->check(CLI::Range(1, 4096))
        ->capture_default_str();
    command->add_option("--control-tokens", s.control_tokens, "Tokens at which the codec's own error is measured")
        ->check(CLI::Range(1, 1 << 16))
        ->capture_default_str();
    command->add_option("--sequences", arguments->sequences, "Texts of 128 tokens that they are taken from")
        ->check(CLI::Range(2, 4096))
        ->capture_default_str();
    command->add_option("--csv", arguments->csv, "File of every component's effect");
    command->callback([registry, arguments] {
        registry.chosen = [&common = registry.common, arguments] { return effects(common, *arguments); };
    });
}

}  // namespace savepoint::cli
