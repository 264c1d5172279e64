#include "app/cli/codecs.h"
#include "app/cli/progress_line.h"

#include <cmath>
#include <cstdio>
#include <filesystem>
#include <utility>

#include "core/sidecar/rate_distortion.h"

namespace savepoint::cli {

namespace {

void print_long_runs(const RateDistortion& job) {
    bool begun = false;
    for (const RateDistortion::Judged& one : job.judged()) {
        const LongRunFigures& f = one.figures.long_runs;
        if (f.drift_kl.empty()) continue;
        if (!std::exchange(begun, true)) {
            std::cout << "\n| codec | greedy tokens in agreement |";
            for (size_t round = 1; round <= f.drift_kl.size(); ++round) std::cout << " KL of round " << round << " |";
            std::cout << "\n| --- | --- |";
            for (size_t round = 0; round < f.drift_kl.size(); ++round) std::cout << " --- |";
            std::cout << "\n";
        }
        std::cout << "| " << one.figures.name << " | " << shown(f.greedy_agreement, "%.1f") << " |";
        for (const double kl : f.drift_kl) std::cout << " " << shown(kl, "%.5f") << " |";
        std::cout << "\n";
    }
}

// The table of the README: one line a codec, in Markdown.
void print_table(const RateDistortion& job) {
    std::cout << "| codec | bytes/token | times smaller than fp16 | KL (nats) | top-1 | hidden FVU | K FVU | V FVU | "
                 "sidecar MB | restore tokens/s |\n| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |\n";
    for (const RateDistortion::Judged& one : job.judged()) {
        const CodecFigures& f = one.figures;
        std::cout << "| " << f.name << " | " << shown(f.bytes_per_token, "%.0f") << " | " << shown(f.ratio_fp16, "%.1f")
                  << " | " << shown(f.kl_nats, "%.5f") << " | " << shown(f.top1_agreement, "%.3f") << " | "
                  << shown(f.hidden_fvu, "%.4f") << " | " << shown(f.k_fvu, "%.4f") << " | " << shown(f.v_fvu, "%.4f")
                  << " | " << shown(static_cast<double>(f.sidecar_bytes) / 1e6, "%.1f") << " | "
                  << shown(f.restore_tokens_per_s, "%.0f") << " |\n";
    }
    print_long_runs(job);
    std::cout << "\nreplay: " << shown(job.replay_tokens_per_s(), "%.0f") << " tokens/s\n";
}

void save_all(const RateDistortion& job, const std::string& folder) {
    std::filesystem::create_directories(folder);
    for (const RateDistortion::Judged& one : job.judged()) {
        const std::string path = (std::filesystem::path(folder) / codec_file_name(one.figures.name)).string();
        save_codec(path, *one.codec, job.info(one.figures));
        std::cerr << path << "\n";
    }
}

}  // namespace

void add_codec_options(CLI::App& command, CodecArguments& arguments) {
    RateDistortionSettings& s = arguments.settings;
    command.add_flag("--codecs", arguments.all, "Fit and judge all codecs instead, on text that none was fitted on");
    command.add_option("--codec", arguments.saved, "Judge this saved codec alone")->check(CLI::ExistingFile);
    command.add_option("--save", arguments.save_folder, "With --codecs: a folder for a file of each");
    command.add_option("--parts", s.parts, "With --codecs: of kv, hidden, full")
        ->check(CLI::IsMember({"kv", "hidden", "full"}))
        ->delimiter(',')
        ->capture_default_str();
    command.add_option("--ratios", s.ratios, "With --codecs: times smaller than fp16, for the codecs that can choose")
        ->delimiter(',')
        ->check(CLI::Range(1.5, 200.0))
        ->capture_default_str();
    command.add_option("--fit-corpus", s.corpus, "With --codecs: text to fit on")->capture_default_str();
    command.add_option("--fit-tokens", s.fit_tokens, "With --codecs: tokens to fit on")
        ->check(CLI::Range(2048, 1 << 24))
        ->capture_default_str();
    command.add_option("--held-out", s.held_out,
                       "With --codecs: other text to judge on: chat, code, dict-gcide, a file or a folder");
    command.add_option("--followers", s.followers, "With --codecs: tokens compared after the prefix")
        ->check(CLI::Range(2, 4096))
        ->capture_default_str();
    command.add_option("--group-size", s.group_size, "With --codecs: blocks that a transform codes together")
        ->check(CLI::Range(1, 64))
        ->capture_default_str();
    command.add_flag("--ablations", s.ablations,
                     "With --codecs: the transform codecs without what they add, one thing after another");
    command.add_flag("!--no-baselines", s.baselines, "With --codecs: the transform codecs alone");
    command
        .add_option("--long-runs", s.long_runs,
                    "With --codecs: sequences that also go on by themselves: greedy agreement, and drift over 8 rounds "
                    "of saving, decoding and generating")
        ->check(CLI::Range(0, 1000))
        ->capture_default_str();
    command.add_option("--seed", s.seed)->capture_default_str();
}

int evaluate_codecs(const Common& common, const CodecArguments& arguments) {
    const OpenModel model(common);
    RateDistortionSettings settings = arguments.settings;
    std::shared_ptr<const RunCodec> saved;
    if (!arguments.saved.empty()) saved = load_codec(arguments.saved, model.weights).codec;
    RateDistortion job(model.transformer, model.tokenizer, settings, saved);
    ProgressLine line;
    for (; !job.done(); job.step()) line.show(job.progress(), job.stage());
    line.clear();
    if (!arguments.save_folder.empty() && !saved) save_all(job, arguments.save_folder);
    if (common.json)
        print_json(job.described());
    else
        print_table(job);
    return 0;
}

}  // namespace savepoint::cli
