#include <algorithm>
#include <chrono>
#include <filesystem>

#include "app/cli/commands.h"
#include "core/model/device.h"
#include "core/model/error.h"
#include "core/model/sampler.h"
#include "core/sidecar/codec_files.h"
#include "core/sidecar/coded_run.h"
#include "core/state/replay.h"
#include "core/state/session.h"

namespace savepoint::cli {

namespace {

using Clock = std::chrono::steady_clock;

double milliseconds_since(Clock::time_point start) {
    return std::chrono::duration<double, std::milli>(Clock::now() - start).count();
}

double quantile(std::vector<double> values, double q) {
    if (values.empty()) return NAN;
    std::sort(values.begin(), values.end());
    return values[std::min(values.size() - 1, static_cast<size_t>(q * static_cast<double>(values.size())))];
}

constexpr int64_t kPrompt = 512, kDecoded = 64;

struct EncodingBench {
    std::string codec;  // a file; empty: everything else is measured
    int64_t batch = 64;
};

// Plain English of the length asked for, the same every time.
std::vector<TokenId> bench_prompt(const Tokenizer& tokenizer) {
    const std::string sentence =
        "The keeper of the lighthouse wrote down the wind, the tide and every ship that passed. ";
    std::string text;
    std::vector<TokenId> ids;
    while (static_cast<int64_t>(ids.size()) < kPrompt) {
        text += sentence;
        ids = tokenizer.encode_start(text);
    }
    ids.resize(kPrompt);
    return ids;
}

double prefill_speed(const OpenModel& model, const std::vector<TokenId>& prompt) {
    std::vector<double> speeds;
    for (int repeat = 0; repeat < 3; ++repeat) {
        KvCache cache = model.transformer.make_cache(kPrompt);
        const auto start = Clock::now();
        model.transformer.prefill_chunked(cache, prompt, 128);
        speeds.push_back(1000.0 * kPrompt / milliseconds_since(start));
    }
    return quantile(speeds, 0.5);
}

// Decoding after the same prompt with and without capture, in turns, so that both meet the same machine.
struct DecodeSpeed {
    double plain, capture;
};
DecodeSpeed decode_speed(const OpenModel& model, const std::vector<TokenId>& prompt) {
    KvCache cache = model.transformer.make_cache(kPrompt + kDecoded);
    model.transformer.prefill_chunked(cache, prompt, 128);
    std::vector<double> plain, capture;
    for (int repeat = 0; repeat < 3; ++repeat)
        for (const bool keep : {false, true}) {
            cache.truncate(kPrompt);
            ForwardOptions options;
            options.capture = keep;
            const auto start = Clock::now();
            for (int64_t i = 0; i < kDecoded; ++i)
                model.transformer.decode(cache, prompt[static_cast<size_t>(i)], options);
            (keep ? capture : plain).push_back(1000.0 * kDecoded / milliseconds_since(start));
        }
    return {quantile(plain, 0.5), quantile(capture, 0.5)};
}

// A text that goes on as the model does at temperature 1, the same every time.
std::vector<TokenId> sampled_text(const OpenModel& model, std::vector<TokenId> ids, int64_t tokens) {
    KvCache cache = model.transformer.make_cache(static_cast<int64_t>(ids.size()) + tokens);
    at::Tensor logits = model.transformer.prefill(cache, ids).logits[0];
    SamplerSettings settings;
    settings.temperature = 1;
    settings.seed = 1;
    for (int64_t i = 0; i < tokens; ++i) {
        ids.push_back(sample(logits, settings, cache.length()));
        logits = model.transformer.decode(cache, ids.back()).logits[0];
    }
    return ids;
}

// Decoding with capture, and the same while a codec codes what was said in batches beside it, in turns.
nlohmann::json encoding_figures(const OpenModel& model, const std::vector<TokenId>& prompt,
                                const EncodingBench& asked) {
    constexpr int64_t kBefore = 128, kGenerated = 256;
    const int64_t batch_size = asked.batch;
    const auto loaded = load_codec(asked.codec, model.transformer.shared_weights());
    const std::vector<TokenId> ids =
        sampled_text(model, std::vector<TokenId>(prompt.begin(), prompt.begin() + kBefore), kGenerated);
    KvCache cache = model.transformer.make_cache(kBefore + kGenerated);
    model.transformer.prefill_chunked(cache, std::span(ids).first(static_cast<size_t>(kBefore)), 128);
    std::vector<double> alone, encoding;
    for (int repeat = 0; repeat < 5; ++repeat)
        for (const bool encode : {false, true}) {
            cache.truncate(kBefore);
            std::vector<StateRows> batch;
            std::vector<at::Tensor> queries;
            const auto start = Clock::now();
            for (int64_t i = 0; i < kGenerated; ++i) {
                ForwardOptions options;
                options.queries = encode;
                ForwardOutput output = model.transformer.decode(cache, ids[static_cast<size_t>(kBefore + i)], options);
                batch.push_back(std::move(output.rows));
                if (!encode) continue;
                queries.push_back(std::move(output.query));
                if (static_cast<int64_t>(batch.size()) < batch_size) continue;
                const auto newest = std::span(ids).subspan(static_cast<size_t>(kBefore + i + 1 - batch_size));
                loaded.codec->encode(coded_run(model.transformer, cache, concat(batch),
                                               newest.first(static_cast<size_t>(batch_size)), at::cat(queries)));
                batch.clear();
                queries.clear();
            }
            (encode ? encoding : alone).push_back(1000.0 * kGenerated / milliseconds_since(start));
        }
    const double plain = quantile(alone, 0.5), coded = quantile(encoding, 0.5);
    return {{"codec", loaded.codec->name()},
            {"decode_exact_capture_tokens_per_s", plain},
            {"decode_exact_encoding_tokens_per_s", coded},
            {"share_of_time_encoding", 1 - coded / plain},
            {"batch", batch_size}};
}

// Adding a branch to a graph, and bringing the live cache back to the middle of another path.
nlohmann::json graph_figures(const OpenModel& model, const std::vector<TokenId>& prompt) {
    ThoughtGraph graph;
    Thought root;
    root.tokens = prompt;
    root.prompt_tokens = kPrompt;
    KvCache cache = model.transformer.make_cache(kPrompt);
    root.rows = model.transformer.prefill_chunked(cache, prompt, 128).rows;
    root.stats.resize(prompt.size());
    const ThoughtId first = graph.add(std::move(root));
    const auto start = Clock::now();
    for (int i = 0; i < 1000; ++i) {
        Thought branch;
        branch.parent = first;
        branch.prefix = kPrompt - 1;
        branch.edge = EdgeKind::continuation;
        graph.add(std::move(branch));
    }
    const double branch_us = milliseconds_since(start);  // of 1,000: ms for all are us for one
    LiveCache live(model.transformer, graph);
    std::vector<double> rewinds;
    for (int i = 0; i < 9; ++i) {
        live.forget();
        const auto begin = Clock::now();
        live.rewind(first, kPrompt / 2);
        rewinds.push_back(milliseconds_since(begin));
    }
    return {{"branch_us", branch_us}, {"rewind_ms", quantile(rewinds, 0.5)}, {"rewind_tokens", kPrompt / 2}};
}

std::vector<double> preview_times(Workbench& workbench) {
    const auto snapshot = finish(workbench, true);
    const TokenRef at{snapshot->current, static_cast<int64_t>(snapshot->path->tokens.size()) - 1};
    const auto groups = static_cast<int64_t>(snapshot->sidecar->groups.size());
    workbench.submit(command::Select{at});
    finish(workbench, true);
    std::vector<double> times;
    for (int i = 0; i < 48; ++i) {
        LatentEdit edit;
        edit.group = i * groups / 48;
        edit.first_token = edit.last_token = at.position;
        edit.component = 0;
        edit.amount = -3.0 + 0.125 * i;
        workbench.submit(command::PreviewEdit{at, {edit}});
        if (const auto preview = finish(workbench)->preview) times.push_back(preview->milliseconds);
    }
    return times;
}

nlohmann::json session_figures(Workbench& workbench) {
    const std::string folder =
        (std::filesystem::temp_directory_path() / ("savepoint-bench-" + std::to_string(getpid()) + ".savepoint"))
            .string();
    auto start = Clock::now();
    workbench.submit(command::SaveSession{folder, "{}"});
    finish(workbench);
    const double save = milliseconds_since(start);
    start = Clock::now();
    workbench.submit(command::OpenSession{folder});
    finish(workbench);
    const double load = milliseconds_since(start);
    int64_t bytes = 0;
    for (const auto& file : std::filesystem::recursive_directory_iterator(folder))
        if (file.is_regular_file()) bytes += static_cast<int64_t>(file.file_size());
    std::filesystem::remove_all(folder);
    return {{"session_save_ms", save}, {"session_load_ms", load}, {"session_bytes", bytes}};
}

nlohmann::json workbench_figures(const Common& common) {
    auto workbench = open_workbench(common, true);
    std::cerr << "loading, and fitting a sidecar if none is stored ...\n";
    finish(*workbench, true);
    command::Generate generate;
    generate.chat = workbench->snapshot()->model->has_chat_template;
    generate.prompt = "Write down what the keeper of a lighthouse sees in one night.";
    generate.settings.sampler.greedy = true;
    generate.settings.max_tokens = 128;
    generate.settings.ignore_end = true;
    workbench->submit(generate);
    const std::vector<double> previews = preview_times(*workbench);
    nlohmann::json result = session_figures(*workbench);
    result["preview_ms_p50"] = quantile(previews, 0.5);
    result["preview_ms_p95"] = quantile(previews, 0.95);
    const auto frame = common.frame_time ? common.frame_time(*workbench) : std::nullopt;
    result["frame_ms_p50"] = frame ? nlohmann::json(*frame) : nlohmann::json(nullptr);
    return result;
}

int bench(const Common& common, const EncodingBench& encoding) {
    nlohmann::json result;
    {
        const OpenModel model(common);
        const std::vector<TokenId> prompt = bench_prompt(model.tokenizer);
        if (!encoding.codec.empty()) {
            print_json(encoding_figures(model, prompt, encoding));
            return 0;
        }
        std::cerr << "prefill and decode ...\n";
        result["prefill_tokens_per_s"] = prefill_speed(model, prompt);
        const DecodeSpeed speed = decode_speed(model, prompt);
        result["decode_exact_tokens_per_s"] = speed.plain;
        result["decode_exact_capture_tokens_per_s"] = speed.capture;
        result.update(graph_figures(model, prompt));
        result["precision"] = model.transformer.precision();
        result["device"] = model.transformer.device().str();
    }
    result.update(workbench_figures(common));
    result["threads"] = threads();
    result["cpu"] = cpu_name();
    if (common.json)
        print_json(result);
    else
        std::cout << result.dump(2) << "\n";
    return 0;
}

}  // namespace

void add_bench(Registry registry) {
    auto* command = add_command(registry, "bench", "Measure speed on this machine");
    const auto encoding = std::make_shared<EncodingBench>();
    command->add_option("--codec", encoding->codec, "Only: what coding with this saved codec, while generating, costs")
        ->check(CLI::ExistingFile);
    command->add_option("--batch", encoding->batch, "With --codec: tokens that are coded together")
        ->check(CLI::Range(32, 256))
        ->capture_default_str();
    command->callback([registry, encoding] {
        registry.chosen = [&common = registry.common, encoding] { return bench(common, *encoding); };
    });
}

}  // namespace savepoint::cli
