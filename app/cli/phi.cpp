#include <cstdio>

#include "app/cli/commands.h"
#include "app/cli/progress_line.h"
#include "core/analysis/phi_ranking.h"
#include "core/model/error.h"

namespace savepoint::cli {

namespace {

struct PhiArguments {
    PhiRankingSettings settings;
    std::vector<std::string> kinds;
    std::string rotary = "both";
};

void print_table(const PhiRanking& ranking) {
    std::printf(
        "| phi | keys and queries | features | relative error | cosine | masked |\n"
        "| --- | --- | --- | --- | --- | --- |\n");
    for (const PhiFidelity& one : ranking.ranked())
        std::printf("| %s | %s rotary | %lld | %.3f | %.3f | %.2g |\n", to_string(one.kind).c_str(),
                    one.rotary ? "after" : "before", static_cast<long long>(one.features), one.relative_error,
                    one.cosine, one.masked);
}

int rank_phi(const Common& common, const PhiArguments& arguments) {
    PhiRankingSettings settings = arguments.settings;
    if (!arguments.kinds.empty()) settings.kinds.clear();
    for (const std::string& name : arguments.kinds) settings.kinds.push_back(phi_from(name));
    if (arguments.rotary != "both") settings.rotary = {arguments.rotary == "after" ? 1 : 0};
    const OpenModel model(common);
    PhiRanking ranking(model.transformer, model.tokenizer, settings);
    ProgressLine line;
    for (; !ranking.done(); ranking.step()) line.show(ranking.progress(), ranking.stage());
    line.clear();
    const std::string sha256 = model.weights->sha256();
    keep_learned(ranking, fit_folder(common, sha256), sha256);
    if (common.json)
        print_json(ranking.described());
    else
        print_table(ranking);
    return 0;
}

}  // namespace

void add_phi(Registry registry) {
    auto arguments = std::make_shared<PhiArguments>();
    PhiRankingSettings& s = arguments->settings;
    CLI::App* command = add_command(registry, "phi",
                                    "Rank feature maps by how well linear attention's read-out reproduces the "
                                    "model's own attention on held-out text");
    command
        ->add_option("--phi", arguments->kinds,
                     "Only these: identity, elu1, relu, squared_relu, exp, favor, dpfp, "
                     "hedgehog; default: all")
        ->delimiter(',');
    command->add_option("--rotary", arguments->rotary, "Keys and queries before or after rotary embedding")
        ->check(CLI::IsMember({"before", "after", "both"}))
        ->capture_default_str();
    command->add_option("--corpus", s.corpus, "fortunes, dict-gcide, code, a text or JSONL file, or a folder of them")
        ->capture_default_str();
    command->add_option("--tokens", s.held_out_tokens, "Held-out tokens")
        ->check(CLI::Range(32, 1 << 22))
        ->capture_default_str();
    command->add_option("--length", s.sequence_length, "Tokens of a sequence")
        ->check(CLI::Range(16, 4096))
        ->capture_default_str();
    command->add_option("--steps", s.hedgehog_steps, "Sequences that hedgehog learns from")
        ->check(CLI::Range(1, 100000))
        ->capture_default_str();
    command->add_option("--favor-features", s.favor_features)->check(CLI::Range(1, 4096))->capture_default_str();
    command->add_option("--dpfp-nu", s.dpfp_nu)->check(CLI::Range(1, 16))->capture_default_str();
    command->add_option("--seed", s.seed)->capture_default_str();
    command->callback([registry, arguments] {
        registry.chosen = [&common = registry.common, arguments] { return rank_phi(common, *arguments); };
    });
}

}  // namespace savepoint::cli
