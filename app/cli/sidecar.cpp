#include <chrono>
#include <filesystem>

#include "app/cli/codecs.h"
#include "app/cli/commands.h"
#include "app/cli/held_out.h"
#include "app/cli/progress_line.h"
#include "core/model/error.h"
#include "core/model/rows.h"
#include "core/sidecar/evaluate.h"
#include "core/sidecar/fit.h"

namespace savepoint::cli {

namespace {

// -- fit ---------------------------------------------------------------------------------------------------

struct FitArguments {
    FitSettings settings;
    std::string out, form = settings.form == SidecarForm::joint ? "joint" : "separate";
    int64_t group_size = settings.joint.group_size;
    bool keep = false;
};

int fit(const Common& common, const FitArguments& arguments) {
    const OpenModel model(common);
    const std::string folder = arguments.out.empty() ? fit_folder(common, model.weights->sha256()) : arguments.out;
    if (arguments.keep && load_fit(folder, model.weights).sidecar) {
        std::cerr << folder << ": already fitted\n";
        return 0;
    }
    const auto start = std::chrono::steady_clock::now();
    ReferenceFit job(model.transformer, model.tokenizer, arguments.settings);
    ProgressLine line;
    for (; !job.done(); job.step()) line.show(job.progress(), job.stage());
    line.clear();
    const ReferenceFit::Result result = job.result();
    save_fit(folder, result);
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    const SidecarInfo& info = result.sidecar->info();
    if (common.json)
        print_json({{"folder", folder},
                    {"hash", result.sidecar->hash()},
                    {"fitted_tokens", info.fitted_tokens},
                    {"seconds", seconds},
                    {"figures", info.figures},
                    {"settings", info.settings}});
    else
        std::cout << folder << ": fitted on " << info.fitted_tokens << " tokens in " << seconds << " s\n"
                  << info.figures.dump(2) << "\n";
    return 0;
}

// -- evaluate ------------------------------------------------------------------------------------------------

struct EvaluateArguments {
    CodecArguments codecs;
    std::string sidecar, corpus = "fortunes";
    int64_t tokens = 3072, length = 256, prefix = 192;
};

constexpr int64_t kTimedSequences = 8;

struct Sums {
    double kl = 0, top1 = 0, nll = 0, hidden_fvu = 0, key_fvu = 0, value_fvu = 0, middle_mse = 0;
    int64_t sequences = 0, scored = 0, above_95 = 0, marked = 0;
    double encode_seconds = 0, restore_seconds = 0, replay_seconds = 0;
    int64_t timed_tokens = 0, tokens = 0;
};

double since(std::chrono::steady_clock::time_point start) {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

void add_reconstruction(Sums& sums, const Sidecar& sidecar, const StateRows& rows, const std::vector<TokenId>& ids) {
    const ReconstructionError error = reconstruction_error(sidecar, rows, ids);
    sums.hidden_fvu += error.hidden_fvu.mean().item<double>();
    sums.key_fvu += error.key_fvu.mean().item<double>();
    sums.value_fvu += error.value_fvu.mean().item<double>();
    sums.middle_mse += error.hidden_mse[error.hidden_mse.size(0) / 2].item<double>();
}

void add_anomaly(Sums& sums, const OpenModel& model, const AnomalyReference* reference, const StateRows& rows,
                 const std::vector<TokenId>& ids) {
    if (!reference) return;
    const at::Tensor query = model.transformer.queries(rows, ids);
    const AnomalyScores scores = reference->score(reference->stream().next(query, rows.key, rows.value).values, 0);
    sums.scored += scores.token_percentile.numel();
    sums.above_95 += (scores.token_percentile > 95.0).sum().item<int64_t>();
    sums.marked += (scores.token_percentile >= kMarkThreshold).sum().item<int64_t>();
}

void add_timings(Sums& sums, const OpenModel& model, const Sidecar& sidecar, const StateRows& rows,
                 const std::vector<TokenId>& ids) {
    auto start = std::chrono::steady_clock::now();
    const Latent latent = sidecar.encode(rows, ids);
    sums.encode_seconds += since(start);
    KvCache cache = model.transformer.make_cache(static_cast<int64_t>(ids.size()));
    start = std::chrono::steady_clock::now();
    const StateRows decoded = sidecar.decode(latent);
    model.transformer.restore(cache, decoded);
    sums.restore_seconds += since(start);
    cache.truncate(0);
    start = std::chrono::steady_clock::now();
    model.transformer.prefill(cache, ids);
    sums.replay_seconds += since(start);
    sums.timed_tokens += static_cast<int64_t>(ids.size());
}

void add_sequence(Sums& sums, const OpenModel& model, const Sidecar& sidecar, const AnomalyReference* reference,
                  const std::vector<TokenId>& ids, int64_t prefix) {
    KvCache cache = model.transformer.make_cache(static_cast<int64_t>(ids.size()));
    const StateRows rows = model.transformer.prefill(cache, ids).rows;
    add_reconstruction(sums, sidecar, rows, ids);
    add_anomaly(sums, model, reference, rows, ids);
    if (sums.sequences < kTimedSequences) add_timings(sums, model, sidecar, rows, ids);
    const ResumeFidelity fidelity = resume_fidelity(model.transformer, sidecar, ids, prefix, rows);
    sums.kl += fidelity.kl_nats;
    sums.top1 += fidelity.top1_agreement;
    sums.nll += fidelity.delta_nll;
    sums.tokens += static_cast<int64_t>(ids.size());
    ++sums.sequences;
}

// All that must be stored of a prefix, the exact first tokens and the ids included, per token of it.
nlohmann::json byte_figures(const Sidecar& sidecar, const ModelConfig& config, int64_t prefix) {
    const Sidecar::ByteAccount account = sidecar.byte_account(config);
    const double coded = static_cast<double>(std::max<int64_t>(prefix - account.exact_first_tokens, 0));
    const double bytes = (account.hidden + account.kv) * coded / static_cast<double>(prefix) + account.token_ids;
    const double raw = account.raw_fp16_hidden + account.raw_fp16_kv;
    return {{"bytes_per_token", bytes},
            {"ratio_fp16", raw / bytes},
            {"raw_fp16_bytes_per_token", raw},
            {"token_id_bytes", account.token_ids},
            {"sidecar_bytes", account.sidecar_bytes}};
}

nlohmann::json figures(const Sums& sums, const Sidecar& sidecar, const ModelConfig& config, int64_t prefix) {
    const auto n = static_cast<double>(sums.sequences);
    nlohmann::json codec{{"name", sidecar.joint() ? "joint" : sidecar.hidden().kind() + "+" + sidecar.kv().kind()},
                         {"kl_nats", sums.kl / n},
                         {"top1_agreement", sums.top1 / n},
                         {"delta_nll", sums.nll / n},
                         {"hidden_fvu", sums.hidden_fvu / n},
                         {"k_fvu", sums.key_fvu / n},
                         {"v_fvu", sums.value_fvu / n},
                         {"mid_layer_mse", sums.middle_mse / n},
                         {"restore_tokens_per_s", static_cast<double>(sums.timed_tokens) / sums.restore_seconds},
                         {"encode_tokens_per_s", static_cast<double>(sums.timed_tokens) / sums.encode_seconds}};
    codec.update(byte_figures(sidecar, config, prefix));
    nlohmann::json result{{"codecs", {codec}},
                          {"replay_tokens_per_s", static_cast<double>(sums.timed_tokens) / sums.replay_seconds},
                          {"held_out_tokens", sums.tokens},
                          {"prefix", prefix}};
    if (sums.scored) {
        const auto scored = static_cast<double>(sums.scored);
        result["anomaly_above_95th_percentile"] = static_cast<double>(sums.above_95) / scored;
        result["anomaly_marked"] = static_cast<double>(sums.marked) / scored;
        result["mark_threshold"] = kMarkThreshold;
    }
    return result;
}

int evaluate(const Common& common, const EvaluateArguments& arguments) {
    const OpenModel model(common);
    const ReferenceFit::Result fit = asked_fit(common, model, arguments.sidecar);
    if (arguments.prefix >= arguments.length) throw InputError("--prefix: must be below --length");

    Sums sums;
    for (const auto& ids :
         unseen_text(model, fit.sidecar->info(), arguments.corpus, arguments.tokens, arguments.length))
        add_sequence(sums, model, *fit.sidecar, fit.elu1.get(), ids, arguments.prefix);
    if (!sums.sequences)
        throw InputError("--corpus: holds no unseen sequence of " + std::to_string(arguments.length) + " tokens");
    const nlohmann::json result = figures(sums, *fit.sidecar, model.transformer.config(), arguments.prefix);
    if (common.json)
        print_json(result);
    else
        std::cout << result.dump(2) << "\n";
    return 0;
}

}  // namespace

void add_fit(Registry registry) {
    auto arguments = std::make_shared<FitArguments>();
    FitSettings& settings = arguments->settings;
    CLI::App* command = add_command(registry, "fit", "Fit a sidecar and the anomaly references of the model");
    command->add_flag("--default")
        ->description("With the default settings into the data folder (what a first start does)");
    command->add_flag("--keep", arguments->keep, "Do nothing when the folder holds a fit of this model already");
    command->add_option("--out", arguments->out, "Folder to write; default: the data folder");
    command
        ->add_option("--corpus", settings.corpus,
                     "fortunes, dict-gcide, code, a text or JSONL file, or a folder of them")
        ->capture_default_str();
    command->add_option("--tokens", settings.fit_tokens, "Tokens to fit on")
        ->check(CLI::Range(256, 1 << 24))
        ->capture_default_str();
    command->add_option("--calibration-tokens", settings.calibration_tokens)
        ->check(CLI::Range(256, 1 << 24))
        ->capture_default_str();
    command->add_option("--length", settings.sequence_length, "Tokens of a sequence")
        ->check(CLI::Range(16, 8192))
        ->capture_default_str();
    command->add_option("--own-samples", settings.own_samples, "Sequences sampled from the model itself")
        ->check(CLI::Range(0, 4096))
        ->capture_default_str();
    command
        ->add_option("--form", arguments->form, "joint: one z for hidden states, keys and values; separate: one each")
        ->check(CLI::IsMember({"joint", "separate"}))
        ->capture_default_str();
    command->add_option("--group-size", arguments->group_size, "Blocks coded together")
        ->check(CLI::Range(1, 1024))
        ->capture_default_str();
    command->add_option("--ratio", settings.joint.ratio, "joint: times smaller than the state in fp16")
        ->check(CLI::Range(2, 256))
        ->capture_default_str();
    command->add_option("--max-components", settings.joint.max_components, "joint: per group; 0: full rank")
        ->check(CLI::NonNegativeNumber)
        ->capture_default_str();
    command
        ->add_option("--gradient-sequences", settings.joint.gradient_sequences,
                     "joint: sequences that say what errors cost; 0: all directions of hidden states alike")
        ->check(CLI::Range(0, 4096))
        ->capture_default_str();
    command->add_option("--hidden-components", settings.pca.hidden_components, "separate: per group; 0: full rank")
        ->check(CLI::NonNegativeNumber)
        ->capture_default_str();
    command->add_option("--key-components", settings.pca.key_components, "separate: per block; 0: full rank")
        ->check(CLI::NonNegativeNumber)
        ->capture_default_str();
    command->add_option("--value-components", settings.pca.value_components, "separate: per block; 0: full rank")
        ->check(CLI::NonNegativeNumber)
        ->capture_default_str();
    command->add_option("--bits", settings.pca.bits, "separate: per component, 2 to 8; 0: float32")
        ->check(CLI::Range(0, 8))
        ->capture_default_str();
    command->add_option("--seed", settings.seed)->capture_default_str();
    command->callback([registry, arguments] {
        FitSettings& chosen = arguments->settings;
        chosen.form = arguments->form == "joint" ? SidecarForm::joint : SidecarForm::separate;
        chosen.joint.group_size = chosen.pca.group_size = arguments->group_size;
        registry.chosen = [&common = registry.common, arguments] { return fit(common, *arguments); };
    });
}

void add_evaluate(Registry registry) {
    auto arguments = std::make_shared<EvaluateArguments>();
    CLI::App* command = add_command(registry, "evaluate", "Reconstruction and resuming on held-out text");
    command->add_option("--sidecar", arguments->sidecar, "sidecar.safetensors; default: the stored one");
    command->add_option("--corpus", arguments->corpus, "fortunes (its unseen part), a text or JSONL file, or a folder")
        ->capture_default_str();
    command->add_option("--tokens", arguments->tokens, "Held-out tokens")
        ->check(CLI::Range(32, 1 << 24))
        ->capture_default_str();
    command->add_option("--length", arguments->length, "Tokens of a sequence")
        ->check(CLI::Range(16, 8192))
        ->capture_default_str();
    command->add_option("--prefix", arguments->prefix, "Tokens decoded before the rest is fed")
        ->check(CLI::Range(1, 8191))
        ->capture_default_str();
    add_codec_options(*command, arguments->codecs);
    command->callback([registry, arguments] {
        RateDistortionSettings& settings = arguments->codecs.settings;
        settings.prefix = arguments->prefix;
        settings.held_out_tokens = arguments->tokens;
        registry.chosen = [&common = registry.common, arguments] {
            const bool codecs = arguments->codecs.all || !arguments->codecs.saved.empty();
            return codecs ? evaluate_codecs(common, arguments->codecs) : evaluate(common, *arguments);
        };
    });
}

}  // namespace savepoint::cli
