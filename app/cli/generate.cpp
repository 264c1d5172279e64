#include "app/cli/commands.h"
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

}  // namespace savepoint::cli
