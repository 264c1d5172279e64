// savepoint latent: a path saved as z, and gone on from.

#include <ATen/ATen.h>

#include <algorithm>
#include <filesystem>

#include "app/cli/causal_runs.h"
#include "app/cli/commands.h"
#include "core/model/error.h"
#include "core/sidecar/latent_file.h"
#include "core/sidecar/long_runs.h"

namespace savepoint::cli {

namespace {

struct SaveArguments {
    OneRunArguments run;
    std::string codec, out;
};

LoadedCodec codec_of(const Common& common, const OpenModel& model, const std::string& file) {
    if (file.empty()) return latent_codec(*stored_fit(common, model.weights).sidecar);
    return load_latent_codec(file, model.weights);
}

int save(const Common& common, const SaveArguments& arguments) {
    const OpenModel model(common);
    const LoadedCodec codec = codec_of(common, model, arguments.codec);
    const StateRun run = read_run(model, arguments.run);
    const SavedLatent latent = save_latent(model.transformer, codec, run.rows, run.ids, kExactFirstTokens);
    write_latent(arguments.out, latent);
    const auto tokens = static_cast<double>(latent.tokens.size());
    const nlohmann::json result = {{"tokens", latent.tokens.size()},
                                   {"codec", latent.z.codec},
                                   {"z_bytes", latent.z.bytes.size()},
                                   {"file_bytes", std::filesystem::file_size(arguments.out)},
                                   {"fp16_bytes", tokens * fp16_bytes(model.weights->config(), codec.codec->part())},
                                   {"codec_bytes", codec.codec->sidecar_bytes()}};
    if (common.json) {
        print_json(result);
        return 0;
    }
    std::cout << arguments.out << ": " << latent.tokens.size() << " tokens by " << latent.z.codec << ", "
              << result["file_bytes"] << " bytes (" << shown(result["fp16_bytes"].get<double>(), "%.0f")
              << " in fp16; the codec itself, kept once, " << result["codec_bytes"] << ")\n";
    return 0;
}

struct ResumeArguments {
    std::string latent, codec;
    int64_t max_tokens = 64;
    bool compare = false;
};

// What comes after the latent's last token, greedily, from the cache given.
std::vector<TokenId> continued(const OpenModel& model, KvCache& cache, TokenId last, const ResumeArguments& arguments) {
    std::vector<TokenId> chosen;
    while (static_cast<int64_t>(chosen.size()) < arguments.max_tokens) {
        last = static_cast<TokenId>(model.transformer.decode(cache, last).logits.argmax(-1).item<int64_t>());
        if (model.tokenizer.ends_generation(last)) break;
        chosen.push_back(last);
    }
    return chosen;
}

int resume(const Common& common, const ResumeArguments& arguments) {
    const OpenModel model(common);
    const LoadedCodec codec = codec_of(common, model, arguments.codec);
    const SavedLatent latent = read_latent(arguments.latent);
    KvCache cache = resume_latent(model.transformer, codec, latent, arguments.max_tokens);
    const std::vector<TokenId> ids = continued(model, cache, latent.tokens.back(), arguments);
    nlohmann::json result = {{"tokens", latent.tokens.size()},
                             {"ids", ids},
                             {"text", model.tokenizer.decode(ids)},
                             {"codec", latent.z.codec}};
    if (arguments.compare) {
        KvCache exact = model.transformer.make_cache(static_cast<int64_t>(latent.tokens.size()) + arguments.max_tokens);
        model.transformer.prefill_chunked(exact, std::span(latent.tokens).first(latent.tokens.size() - 1), 128);
        const GreedyPair pair{continued(model, exact, latent.tokens.back(), arguments), ids};
        result["exact_text"] = model.tokenizer.decode(pair.exact);
        result["agreement"] = pair.agreement();
    }
    if (common.json) {
        print_json(result);
        return 0;
    }
    std::cout << result["text"].get<std::string>() << "\n";
    if (arguments.compare)
        std::cerr << "from the exact state (" << result["agreement"] << " tokens agree):\n"
                  << result["exact_text"].get<std::string>() << "\n";
    return 0;
}

struct KeepArguments {
    std::string session, codec;
    ThoughtId thought = 0;
};

// In the session itself, as Keep as z does in the window.
int keep(const Common& common, const KeepArguments& arguments) {
    const auto workbench = open_workbench(common, false);
    workbench->submit(command::OpenSession{arguments.session});
    finish(*workbench);
    workbench->submit(command::KeepAsLatent{arguments.thought, arguments.codec});
    const auto snapshot = finish(*workbench);
    const auto& thoughts = snapshot->graph->thoughts;
    const ThoughtView& kept = *std::find_if(thoughts.begin(), thoughts.end(),
                                            [&](const ThoughtView& t) { return t.id == snapshot->current; });
    workbench->submit(command::SaveSession{arguments.session, snapshot->session.view});
    finish(*workbench);
    if (common.json)
        print_json({{"thought", kept.id},
                    {"codec", kept.codec},
                    {"z_bytes", kept.z_bytes},
                    {"fp16_bytes", kept.fp16_bytes},
                    {"kl_next", kept.kl_next}});
    else
        std::cout << "thought " << kept.id << ": " << kept.detail << "; KL of the next token "
                  << shown(kept.kl_next, "%.5f") << " nats\n";
    return 0;
}

}  // namespace

void add_latent(Registry registry) {
    CLI::App* latent = registry.app.add_subcommand("latent", "Save a path as its latent z, and go on from one");
    latent->require_subcommand(1);
    Registry inner{*latent, registry.common, registry.chosen};
    {
        auto arguments = std::make_shared<SaveArguments>();
        CLI::App* save_command = add_command(inner, "save", "Code a text or a thought of a session into a file");
        add_run_options(*save_command, arguments->run);
        save_command->add_option("--codec", arguments->codec, "A saved codec or sidecar; else the default sidecar")
            ->check(CLI::ExistingFile);
        save_command->add_option("--out", arguments->out, "File to write, .safetensors")->required();
        save_command->callback([registry, arguments] {
            registry.chosen = [&common = registry.common, arguments] { return save(common, *arguments); };
        });
    }
    {
        auto arguments = std::make_shared<KeepArguments>();
        CLI::App* keep_command = add_command(inner, "keep", "Keep a thought of a session as z, in a thought beside it");
        keep_command->add_option("--session", arguments->session, "Session folder")->required();
        keep_command->add_option("--thought", arguments->thought, "Thought id")->required();
        keep_command->add_option("--codec", arguments->codec, "Name of a compared codec; else the default sidecar");
        keep_command->callback([registry, arguments] {
            registry.chosen = [&common = registry.common, arguments] { return keep(common, *arguments); };
        });
    }
    auto arguments = std::make_shared<ResumeArguments>();
    CLI::App* resume_command =
        add_command(inner, "resume", "Go on from a latent, greedily, without running its tokens");
    resume_command->add_option("latent", arguments->latent, "A file of `latent save`")
        ->required()
        ->check(CLI::ExistingFile);
    resume_command
        ->add_option("--codec", arguments->codec, "The codec that it was saved with; else the default sidecar")
        ->check(CLI::ExistingFile);
    resume_command->add_option("--max-tokens", arguments->max_tokens)
        ->check(CLI::Range(1, 1 << 20))
        ->capture_default_str();
    resume_command->add_flag("--compare", arguments->compare, "Also from the exact state, by running the tokens");
    resume_command->callback([registry, arguments] {
        registry.chosen = [&common = registry.common, arguments] { return resume(common, *arguments); };
    });
}

}  // namespace savepoint::cli
