#include "app/cli/causal_runs.h"

#include "core/model/error.h"
#include "core/state/replay.h"
#include "core/state/session.h"
#include "core/workbench/kept_codecs.h"

namespace savepoint::cli {

namespace {

SessionIdentity identity_of(const OpenModel& model) {
    SessionIdentity identity;
    identity.model_name = model.transformer.config().name;
    identity.model_sha256 = model.weights->sha256();
    identity.tokenizer_hash = model.tokenizer.hash();
    identity.model_config = model.transformer.config();
    return identity;
}

// What is kept as z on the path of a thought comes from z, not from replay.
void decode_latents(const OpenModel& model, ThoughtGraph& graph, ThoughtId path) {
    for (const PathSpan& span : graph.path(path)) {
        Thought& thought = graph.edit(span.thought);
        if (!awaits_decoding(thought)) continue;
        const KeptCodecs codecs(model.weights, load_fit(model.fit_folder, model.weights).sidecar, model.fit_folder);
        const LoadedCodec codec = codecs.find(*thought.latent);
        const ResumedPath resumed =
            resumed_path(model.transformer, codec, {thought.tokens, *thought.latent, model.weights->sha256()});
        thought.edits = decoded_edits(resumed.rows, thought.latent->exact_first);
    }
}

PatchRun thought_run(const OpenModel& model, ThoughtGraph& graph, ThoughtId thought) {
    decode_latents(model, graph, thought);
    PatchRun run;
    run.state.ids = graph.path_tokens(thought);
    run.state.rows = replay_path(model.transformer, graph, thought);
    run.edits = graph.path_edits(thought);
    run.end = static_cast<int64_t>(run.state.ids.size()) - 1;
    return run;
}

PatchRun text_run(const OpenModel& model, const std::string& text, bool chat) {
    PatchRun run;
    run.state.ids = encode_prompt(model, text, chat);
    run.end = static_cast<int64_t>(run.state.ids.size()) - 1;
    KvCache cache = model.transformer.make_cache(run.end + 1);
    ForwardOptions options;
    options.logits = Logits::none;
    run.state.rows = model.transformer.prefill_chunked(cache, run.state.ids, 128, options).rows;
    return run;
}

}  // namespace

void add_run_options(CLI::App& command, RunArguments& arguments) {
    command.add_option("--session", arguments.session, "Session folder of two thoughts");
    command.add_option("--a", arguments.a, "Thought id of run a")->check(CLI::NonNegativeNumber);
    command.add_option("--b", arguments.b, "Thought id of run b")->check(CLI::NonNegativeNumber);
    command.add_option("--text-a", arguments.text_a, "Instead of a session: the text of run a");
    command.add_option("--text-b", arguments.text_b, "The text of run b");
    command.add_flag("--chat", arguments.chat, "The texts are a user's messages in the chat template");
}

RunPair read_runs(const OpenModel& model, const RunArguments& arguments) {
    const bool session = !arguments.session.empty(), texts = !arguments.text_a.empty() && !arguments.text_b.empty();
    if (session == texts) throw InputError("two runs: give --session DIR --a N --b M, or --text-a S --text-b S");
    RunPair runs;
    if (session) {
        if (arguments.a < 0 || arguments.b < 0)
            throw InputError("--a, --b: the ids of two thoughts are needed; `savepoint session export` lists them");
        const SessionIdentity identity = identity_of(model);
        SessionContents contents = open_session(arguments.session, &identity);
        runs.a = thought_run(model, contents.graph, arguments.a);
        runs.b = thought_run(model, contents.graph, arguments.b);
    } else {
        runs.a = text_run(model, arguments.text_a, arguments.chat);
        runs.b = text_run(model, arguments.text_b, arguments.chat);
    }
    runs.alignment = align(runs.a.state.ids, runs.b.state.ids);
    return runs;
}

void add_run_options(CLI::App& command, OneRunArguments& arguments) {
    command.add_option("--session", arguments.session, "Session folder");
    command.add_option("--thought", arguments.thought, "Thought id")->check(CLI::NonNegativeNumber);
    command.add_option("--text", arguments.text, "Instead of a session: a text");
    command.add_flag("--chat", arguments.chat, "The text is a user's message in the chat template");
}

StateRun read_run(const OpenModel& model, const OneRunArguments& arguments) {
    if (arguments.session.empty() == arguments.text.empty())
        throw InputError("a run: give --session DIR --thought N, or --text S");
    if (!arguments.text.empty()) return text_run(model, arguments.text, arguments.chat).state;
    if (arguments.thought < 0) throw InputError("--thought: the id of a thought is needed");
    const SessionIdentity identity = identity_of(model);
    SessionContents contents = open_session(arguments.session, &identity);
    return thought_run(model, contents.graph, arguments.thought).state;
}

TokenId one_token(const OpenModel& model, const std::string& text, const char* option) {
    const std::vector<TokenId> ids = model.tokenizer.encode(text);
    if (ids.size() != 1)
        throw InputError(std::string(option) + ": \"" + text + "\" is " + std::to_string(ids.size()) +
                         " tokens; give one, with the space before it");
    return ids.front();
}

nlohmann::json described(const OpenModel& model, const RunPair& runs) {
    nlohmann::json pairs = nlohmann::json::array();
    for (const AlignedPair& pair : runs.alignment.pairs) {
        const TokenId a = runs.a.state.ids[static_cast<size_t>(pair.a)],
                      b = runs.b.state.ids[static_cast<size_t>(pair.b)];
        pairs.push_back({{"a", pair.a},
                         {"b", pair.b},
                         {"id_a", a},
                         {"id_b", b},
                         {"text_a", model.tokenizer.piece(a)},
                         {"text_b", model.tokenizer.piece(b)},
                         {"same", pair.same}});
    }
    return {{"rule", kAlignmentRule},
            {"shared", runs.alignment.shared},
            {"tokens_a", runs.a.state.ids.size()},
            {"tokens_b", runs.b.state.ids.size()},
            {"pairs", std::move(pairs)}};
}

}  // namespace savepoint::cli
