#include <algorithm>
#include <numeric>

#include "app/cli/commands.h"
#include "core/analysis/linear_attention.h"
#include "core/model/error.h"
#include "core/model/sampler.h"

namespace savepoint::cli {

namespace {

struct GenerateArguments {
    std::string prompt, session;
    bool chat = false;
    GenerateSettings settings;
};

// The generated part of the current path.
nlohmann::json generated(const Workbench& workbench, const std::string& model_path) {
    const auto snapshot = workbench.snapshot();
    std::vector<TokenId> ids;
    for (const auto& token : snapshot->path->tokens)
        if (!token->prompt) ids.push_back(token->id);
    return {{"ids", ids}, {"text", Tokenizer(model_path).decode(ids)}};
}

int generate(const Common& common, const GenerateArguments& arguments) {
    if (arguments.prompt.empty()) throw InputError("--prompt: is empty; give at least one token of text");
    auto workbench = open_workbench(common, false);
    workbench->submit(command::Generate{arguments.prompt, {}, arguments.chat, arguments.settings, 0});
    finish(*workbench);
    if (!arguments.session.empty()) {
        workbench->submit(command::SaveSession{arguments.session, "{}"});
        finish(*workbench);
    }
    const nlohmann::json result = generated(*workbench, common.model);
    if (common.json)
        print_json(result);
    else
        std::cout << result["text"].get<std::string>() << std::endl;
    return 0;
}

int logits(const Common& common, const std::string& prompt, bool chat, int64_t top) {
    const OpenModel model(common);
    const std::vector<TokenId> ids = encode_prompt(model, prompt, chat);
    KvCache cache = model.transformer.make_cache(static_cast<int64_t>(ids.size()));
    ForwardOptions options;
    options.capture = false;
    const at::Tensor row = model.transformer.prefill(cache, ids, options).logits.reshape({-1});
    const auto [values, indices] = row.topk(std::min<int64_t>(top, row.numel()));
    nlohmann::json result{{"ids", ids}, {"top", nlohmann::json::array()}};
    for (int64_t i = 0; i < values.numel(); ++i)
        result["top"].push_back({indices[i].item<int64_t>(), values[i].item<float>()});
    if (common.json) {
        print_json(result);
        return 0;
    }
    for (const auto& entry : result["top"])
        std::cout << entry[1].get<float>() << "\t" << entry[0] << "\t"
                  << nlohmann::json(model.tokenizer.piece(entry[0].get<TokenId>()))
                         .dump(-1, ' ', false, nlohmann::json::error_handler_t::replace)
                  << "\n";
    return 0;
}

nlohmann::json rows_of(const at::Tensor& values) {  // [a, b] -> [[...], ...]
    nlohmann::json rows = nlohmann::json::array();
    const at::Tensor plain = values.to(at::kFloat).contiguous();
    for (int64_t i = 0; i < plain.size(0); ++i) {
        const float* first = plain[i].data_ptr<float>();
        rows.push_back(std::vector<float>(first, first + plain[i].numel()));
    }
    return rows;
}

int score(const Common& common, const std::string& prompt, bool chat, FeatureMap map, double threshold) {
    const OpenModel model(common);
    const std::vector<TokenId> ids = encode_prompt(model, prompt, chat);
    const ReferenceFit::Result fit = stored_fit(common, model.weights->sha256());
    const auto& reference = map == FeatureMap::elu1 ? *fit.elu1 : *fit.identity;
    KvCache cache = model.transformer.make_cache(static_cast<int64_t>(ids.size()));
    const StateRows rows = model.transformer.prefill_chunked(cache, ids, 128).rows;
    const at::Tensor query = model.transformer.queries(rows, ids);
    const AnomalyScores scores = reference.score(read_out(query, rows.key, rows.value, map), 0);

    nlohmann::json tokens = nlohmann::json::array();
    for (size_t i = 0; i < ids.size(); ++i) {
        const auto at = static_cast<int64_t>(i);
        nlohmann::json token{{"id", ids[i]},
                             {"text", model.tokenizer.piece(ids[i])},
                             {"score", scores.token[at].item<double>()},
                             {"percentile", scores.token_percentile[at].item<double>()},
                             {"marked", is_marked(scores.token_percentile[at].item<float>(), threshold)}};
        if (common.json) token["percentile_by_layer_head"] = rows_of(scores.percentile[at]);
        tokens.push_back(std::move(token));
    }
    if (common.json) {
        print_json({{"phi", to_string(map)},
                    {"fitted_tokens", reference.fitted_tokens()},
                    {"calibration_tokens", reference.calibration_tokens()},
                    {"threshold", threshold},
                    {"tokens", tokens}});
        return 0;
    }
    std::cout << "percentile\tscore\ttoken\tmark\n";
    for (const auto& token : tokens)
        std::cout << token["percentile"].get<double>() << "\t" << token["score"].get<double>() << "\t"
                  << token["text"].dump(-1, ' ', false, nlohmann::json::error_handler_t::replace)
                  << (token["marked"].get<bool>() ? "\tmarked" : "") << "\n";
    return 0;
}

}  // namespace

void add_generate(Registry registry) {
    auto arguments = std::make_shared<GenerateArguments>();
    CLI::App* command = add_command(registry, "generate", "Generate text after a prompt");
    SamplerSettings& sampler = arguments->settings.sampler;
    command
        ->add_option("--prompt", arguments->prompt,
                     "Raw text; special tokens in it are parsed, and none is added but the one that begins a "
                     "sequence, where the model file asks for it")
        ->required();
    command->add_flag("--chat", arguments->chat, "The prompt is a user's message in the chat template");
    command->add_option("--max-tokens", arguments->settings.max_tokens, "Stop after this many tokens")
        ->check(CLI::Range(int64_t{0}, int64_t{1} << 20))
        ->capture_default_str();
    auto* greedy = command->add_flag("--greedy", sampler.greedy, "Always the most likely token");
    command->add_option("--temperature", sampler.temperature)
        ->check(CLI::Range(0.0f, 100.0f))
        ->capture_default_str()
        ->excludes(greedy);
    command->add_option("--top-k", sampler.top_k, "0: off")->check(CLI::NonNegativeNumber)->excludes(greedy);
    command->add_option("--top-p", sampler.top_p)
        ->check(CLI::Range(0.0f, 1.0f))
        ->capture_default_str()
        ->excludes(greedy);
    command->add_option("--min-p", sampler.min_p)
        ->check(CLI::Range(0.0f, 1.0f))
        ->capture_default_str()
        ->excludes(greedy);
    command->add_option("--seed", sampler.seed)->capture_default_str();
    command->add_flag("--ignore-eos", arguments->settings.ignore_end, "Go on after an end-of-text token");
    command->add_option("--session", arguments->session, "Save the thought into this session folder");
    command->callback([registry, arguments] {
        registry.chosen = [&common = registry.common, arguments] { return generate(common, *arguments); };
    });
}

void add_logits(Registry registry) {
    struct Arguments {
        std::string prompt;
        bool chat = false;
        int64_t top = 20;
    };
    auto arguments = std::make_shared<Arguments>();
    CLI::App* command = add_command(registry, "logits", "Print the most likely next tokens with their logits");
    command->add_option("--prompt", arguments->prompt, "Raw text")->required();
    command->add_flag("--chat", arguments->chat, "The prompt is a user's message in the chat template");
    command->add_option("--top", arguments->top, "How many")->check(CLI::PositiveNumber)->capture_default_str();
    command->callback([registry, arguments] {
        registry.chosen = [&common = registry.common, arguments] {
            return logits(common, arguments->prompt, arguments->chat, arguments->top);
        };
    });
}

void add_score(Registry registry) {
    struct Arguments {
        std::string prompt, phi = "elu1";
        bool chat = false;
        double threshold = kMarkThreshold;
    };
    auto arguments = std::make_shared<Arguments>();
    CLI::App* command = add_command(registry, "score", "Anomaly scores of every token of a prompt");
    command->add_option("--prompt", arguments->prompt, "Raw text")->required();
    command->add_flag("--chat", arguments->chat, "The prompt is a user's message in the chat template");
    command->add_option("--phi", arguments->phi, "Feature map of the linear-attention state: identity or elu1")
        ->capture_default_str();
    command->add_option("--threshold", arguments->threshold, "Anomaly percentile from which on a token is marked")
        ->check(CLI::Range(0, 100))
        ->capture_default_str();
    command->callback([registry, arguments] {
        registry.chosen = [&common = registry.common, arguments] {
            return score(common, arguments->prompt, arguments->chat, feature_map_from(arguments->phi),
                         arguments->threshold);
        };
    });
}

}  // namespace savepoint::cli
