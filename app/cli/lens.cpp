#include <cmath>
#include <filesystem>
#include <numeric>
#include <sstream>

#include "app/cli/causal_runs.h"
#include "app/cli/progress_line.h"
#include "core/analysis/attention_mass.h"
#include "core/analysis/attention_patterns.h"
#include "core/analysis/lens.h"
#include "core/model/error.h"
#include "core/state/safetensors.h"
#include "core/workbench/lens_task.h"
#include "core/workbench/text.h"

namespace savepoint::cli {

namespace {

constexpr int64_t kJudgedTokens = 2176;  // of held-out text, 2,108 of them behind the first four of each sequence

struct LensArguments {
    OneRunArguments run;
    bool tuned = false, decoded = false, refit = false;
    int64_t first = 0, tokens = 0;
    std::string target, distractor, csv;
};

std::string shown(const std::string& text) {
    return nlohmann::json(text).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

std::shared_ptr<const TunedLens> tuned_lens(const Common& common, const OpenModel& model, bool refit) {
    const std::string folder = fit_folder(common, model.weights->sha256()), path = tuned_lens_path(folder);
    if (!refit && std::filesystem::exists(path))
        return TunedLens::load(path, model.transformer.config(), model.weights->sha256());
    LensText text = lens_text(model.tokenizer, 8192, kJudgedTokens);
    TunedLensFit fit(model.transformer, std::move(text.fit), std::move(text.held_out));
    run_to_end(fit);
    const auto lens = fit.result();
    std::filesystem::create_directories(folder);
    lens->save(path, model.weights->sha256());
    return lens;
}

double mean(const std::vector<float>& values) {
    return values.empty() ? NAN
                          : std::accumulate(values.begin(), values.end(), 0.0) / static_cast<double>(values.size());
}

nlohmann::json cells_of(const OpenModel& model, const LensMap& map, const StateRun& run) {
    nlohmann::json tokens = nlohmann::json::array();
    for (int64_t token = 0; token < map.read; ++token) {
        nlohmann::json layers = nlohmann::json::array();
        for (int64_t layer = 0; layer < map.layers; ++layer) {
            const auto at = static_cast<size_t>(token * map.layers + layer);
            nlohmann::json top = nlohmann::json::array();
            for (size_t k = at * kLensTop; k < (at + 1) * kLensTop; ++k)
                top.push_back({{"id", map.top[k]},
                               {"text", model.tokenizer.piece(map.top[k])},
                               {"probability", map.top_probability[k]}});
            layers.push_back({{"top", top},
                              {"entropy", map.entropy[at]},
                              {"kl", map.kl[at]},
                              {"next_probability", map.next_probability[at]},
                              {"difference", map.difference[at]}});
        }
        const TokenId id = run.ids[static_cast<size_t>(map.first + token)];
        tokens.push_back({{"position", map.first + token},
                          {"id", id},
                          {"text", model.tokenizer.piece(id)},
                          {"layers", std::move(layers)}});
    }
    return tokens;
}

void write_table(const std::string& path, const nlohmann::json& tokens) {
    std::ostringstream out;
    out << "position,token,layer,first,first_probability,second,third,entropy,kl,next_probability,difference\n";
    const auto number = [](const nlohmann::json& value) {
        return value.is_number() ? csv_number(value.get<float>()) : std::string();
    };
    const auto text = [](const nlohmann::json& value) { return csv_field(displayable(value.get<std::string>())); };
    for (const auto& token : tokens)
        for (size_t layer = 0; layer < token["layers"].size(); ++layer) {
            const auto& cell = token["layers"][layer];
            out << token["position"] << "," << text(token["text"]) << "," << layer << ","
                << text(cell["top"][0]["text"]) << "," << number(cell["top"][0]["probability"]) << ","
                << text(cell["top"][1]["text"]) << "," << text(cell["top"][2]["text"]) << "," << number(cell["entropy"])
                << "," << number(cell["kl"]) << "," << number(cell["next_probability"]) << ","
                << number(cell["difference"]) << "\n";
        }
    write_atomically(path, out.str());
}

void print(const nlohmann::json& result) {
    if (result.contains("tuned"))
        std::cout << "held-out KL to the model's own distribution, mean over layers: logit lens "
                  << result["tuned"]["mean_kl_logit"] << ", tuned lens " << result["tuned"]["mean_kl_tuned"]
                  << " nats (" << result["tuned"]["fitted_tokens"] << " tokens fitted, "
                  << result["tuned"]["held_out_tokens"] << " held out)\n";
    const auto& last = result["tokens"].back();
    std::cout << "after " << shown(last["text"].get<std::string>()) << " at " << last["position"] << ":\n"
              << "layer\tmost likely\tprobability\tKL\t" << shown(result["target"]["text"].get<std::string>())
              << " over " << shown(result["distractor"]["text"].get<std::string>()) << "\n";
    for (size_t layer = 0; layer < last["layers"].size(); ++layer) {
        const auto& cell = last["layers"][layer];
        std::cout << layer << "\t" << shown(cell["top"][0]["text"].get<std::string>()) << "\t"
                  << cell["top"][0]["probability"] << "\t" << cell["kl"] << "\t" << cell["difference"] << "\n";
    }
}

int read_lens(const Common& common, const LensArguments& arguments) {
    const OpenModel model(common);
    const StateRun run = read_run(model, arguments.run);
    const auto all = static_cast<int64_t>(run.ids.size());
    const int64_t tokens = arguments.tokens > 0 ? arguments.tokens : std::max<int64_t>(1, all - arguments.first);
    at::Tensor states = run.rows.hidden;
    if (arguments.decoded) {
        const auto sidecar = stored_fit(common, model.weights).sidecar;
        states = sidecar->hidden().decode(sidecar->hidden().encode(run.rows.hidden));
    }
    const auto tuned = arguments.tuned ? tuned_lens(common, model, arguments.refit) : nullptr;
    const int64_t last = std::min(all, arguments.first + tokens) - 1;
    const at::Tensor likely =
        std::get<1>(model.transformer.unembed(run.rows.hidden[last][run.rows.hidden.size(1) - 1].contiguous()).topk(2));
    TokenId target = likely[0].item<TokenId>(), distractor = likely[1].item<TokenId>();
    if (!arguments.target.empty()) target = one_token(model, arguments.target, "--target");
    if (!arguments.distractor.empty()) distractor = one_token(model, arguments.distractor, "--distractor");
    Lens lens(model.transformer, run, states, tuned, arguments.first, tokens, target, distractor);
    run_to_end(lens);
    nlohmann::json result{{"lens", arguments.tuned ? "tuned" : "logit"},
                          {"states", arguments.decoded ? "decoded" : "own"},
                          {"target", {{"id", target}, {"text", model.tokenizer.piece(target)}}},
                          {"distractor", {{"id", distractor}, {"text", model.tokenizer.piece(distractor)}}},
                          {"tokens", cells_of(model, lens.map(), run)}};
    if (tuned) {
        const LensFigures& f = tuned->figures();
        result["tuned"] = {{"kl_logit", f.kl_logit},
                           {"kl_tuned", f.kl_tuned},
                           {"mean_kl_logit", mean(f.kl_logit)},
                           {"mean_kl_tuned", mean(f.kl_tuned)},
                           {"fitted_tokens", f.fitted_tokens},
                           {"held_out_tokens", f.held_out_tokens}};
    }
    if (!arguments.csv.empty()) write_table(arguments.csv, result["tokens"]);
    common.json ? print_json(result) : print(result);
    return 0;
}

// -- attention ---------------------------------------------------------------------------------------------------

struct AttentionArguments {
    OneRunArguments run;
    int64_t token = -1, layer = -1, head = -1;
    bool received = false;
};

// What every token has received from later ones.
int attention_received(const Common& common, const AttentionArguments& arguments) {
    const OpenModel model(common);
    const StateRun run = read_run(model, arguments.run);
    at::Tensor mass = attention_mass(model.transformer, run).received();  // [layers, heads, tokens]
    if (arguments.layer >= mass.size(0) || arguments.head >= mass.size(1))
        throw InputError("--layer, --head: the model has " + std::to_string(mass.size(0)) + " layers of " +
                         std::to_string(mass.size(1)) + " heads");
    if (arguments.layer >= 0) mass = mass.narrow(0, arguments.layer, 1);
    if (arguments.head >= 0) mass = mass.narrow(1, arguments.head, 1);
    const at::Tensor mean = mass.flatten(0, 1).mean(0);
    nlohmann::json tokens = nlohmann::json::array();
    for (int64_t i = 0; i < mean.size(0); ++i) {
        const TokenId id = run.ids[static_cast<size_t>(i)];
        tokens.push_back(
            {{"position", i}, {"id", id}, {"text", model.tokenizer.piece(id)}, {"received", mean[i].item<float>()}});
    }
    if (common.json) {
        print_json({{"unit", "queries"}, {"tokens", tokens}});
        return 0;
    }
    std::cout << "received\ttoken\n";
    for (const auto& token : tokens)
        std::cout << token["received"] << "\t" << token["position"] << " " << shown(token["text"].get<std::string>())
                  << "\n";
    return 0;
}

int attention(const Common& common, const AttentionArguments& arguments) {
    const OpenModel model(common);
    const StateRun run = read_run(model, arguments.run);
    const int64_t position = arguments.token < 0 ? static_cast<int64_t>(run.ids.size()) - 1 : arguments.token;
    const at::Tensor pattern = attention_pattern(model.transformer, run, position).contiguous();
    if (arguments.layer >= pattern.size(0) || arguments.head >= pattern.size(1))
        throw InputError("--layer, --head: the model has " + std::to_string(pattern.size(0)) + " layers of " +
                         std::to_string(pattern.size(1)) + " heads");
    nlohmann::json heads = nlohmann::json::array();
    for (int64_t layer = 0; layer < pattern.size(0); ++layer)
        for (int64_t head = 0; head < pattern.size(1); ++head) {
            if ((arguments.layer >= 0 && layer != arguments.layer) || (arguments.head >= 0 && head != arguments.head))
                continue;
            const float* row = pattern[layer][head].data_ptr<float>();
            heads.push_back(
                {{"layer", layer}, {"head", head}, {"weight", std::vector<float>(row, row + position + 1)}});
        }
    if (common.json) {
        nlohmann::json texts = nlohmann::json::array();
        for (int64_t i = 0; i <= position; ++i) texts.push_back(model.tokenizer.piece(run.ids[static_cast<size_t>(i)]));
        print_json({{"token", position}, {"text", texts}, {"heads", heads}});
        return 0;
    }
    std::cout << "layer\thead\tlooks most at\tweight\n";
    for (const auto& one : heads) {
        const auto weights = one["weight"].get<std::vector<float>>();
        const auto most = static_cast<size_t>(std::max_element(weights.begin(), weights.end()) - weights.begin());
        std::cout << one["layer"] << "\t" << one["head"] << "\t" << most << " "
                  << shown(model.tokenizer.piece(run.ids[most])) << "\t" << weights[most] << "\n";
    }
    return 0;
}

}  // namespace

void add_lens(Registry registry) {
    auto arguments = std::make_shared<LensArguments>();
    CLI::App* command = add_command(registry, "lens", "What each layer would say next: logit lens or tuned lens");
    add_run_options(*command, arguments->run);
    command->add_flag("--tuned", arguments->tuned, "Through the tuned lens, which is fitted the first time");
    command->add_flag("--refit", arguments->refit, "Fit the tuned lens again");
    command->add_flag("--decoded", arguments->decoded, "Look at the states that the sidecar decodes");
    command->add_option("--first", arguments->first, "First token to look at")->check(CLI::NonNegativeNumber);
    command->add_option("--tokens", arguments->tokens, "How many; 0: up to the end")->check(CLI::NonNegativeNumber);
    command->add_option("--target", arguments->target, "A token as text, with its space; default: the most likely");
    command->add_option("--distractor", arguments->distractor, "Another; default: the second most likely");
    command->add_option("--csv", arguments->csv, "Write a row for every token and layer into this file");
    command->callback([registry, arguments] {
        registry.chosen = [&common = registry.common, arguments] { return read_lens(common, *arguments); };
    });
}

void add_attention(Registry registry) {
    auto arguments = std::make_shared<AttentionArguments>();
    CLI::App* command = add_command(registry, "attention", "What every head of a token looks at");
    add_run_options(*command, arguments->run);
    auto* token = command->add_option("--token", arguments->token, "Position; default: the last");
    token->check(CLI::NonNegativeNumber);
    command
        ->add_flag("--received", arguments->received,
                   "Instead: the attention that each token has received from later ones, summed over them, mean over "
                   "layers and heads; 1 is all that one later token pays")
        ->excludes(token);
    command->add_option("--layer", arguments->layer, "Of this layer alone")->check(CLI::NonNegativeNumber);
    command->add_option("--head", arguments->head, "Of this head alone")->check(CLI::NonNegativeNumber);
    command->callback([registry, arguments] {
        registry.chosen = [&common = registry.common, arguments] {
            return arguments->received ? attention_received(common, *arguments) : attention(common, *arguments);
        };
    });
}

}  // namespace savepoint::cli
