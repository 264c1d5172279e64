// savepoint train: a learned codec from text, judged beside the transform that it starts from.

#include <cmath>
#include <cstdio>
#include <filesystem>

#include "app/cli/commands.h"
#include "app/cli/progress_line.h"
#include "core/sidecar/codec_training.h"

namespace savepoint::cli {

namespace {

struct TrainArguments {
    TrainingSettings settings;
    std::string out, checkpoint;
};

void show_point(const TrainingPoint& p) {
    std::cerr << "round " << p.round + 1 << "  loss " << shown(p.loss, "%.2f") << "  rate "
              << shown(p.rate_bits, "%.0f") << " bits/token  distortion " << shown(p.distortion, "%.2f") << "  KL "
              << shown(p.kl, "%.5f");
    if (std::isfinite(p.held_out_loss))
        std::cerr << "   held out: loss " << shown(p.held_out_loss, "%.2f") << "  rate "
                  << shown(p.held_out_bits, "%.0f") << "  KL " << shown(p.held_out_kl, "%.5f");
    std::cerr << "\n";
}

void print_table(const CodecTraining& training) {
    std::cout
        << "| codec | bytes/token | times smaller than fp16 | KL (nats) | top-1 | hidden FVU | sidecar MB | restore "
           "tokens/s |\n| --- | --- | --- | --- | --- | --- | --- | --- |\n";
    for (const CodecTraining::Judged& one : training.judged()) {
        const CodecFigures& f = one.figures;
        std::cout << "| " << f.name << " | " << shown(f.bytes_per_token, "%.0f") << " | " << shown(f.ratio_fp16, "%.1f")
                  << " | " << shown(f.kl_nats, "%.5f") << " | " << shown(f.top1_agreement, "%.3f") << " | "
                  << shown(f.hidden_fvu, "%.4f") << " | " << shown(static_cast<double>(f.sidecar_bytes) / 1e6, "%.1f")
                  << " | " << shown(f.restore_tokens_per_s, "%.0f") << " |\n";
    }
    const double ratio = training.against_transform();
    if (std::isfinite(ratio))
        std::cout << "\nat equal bytes the learned codec loses " << shown(100 * std::abs(1 - ratio), "%.1f") << " % "
                  << (ratio < 1 ? "less" : "more") << " than the transform it starts from\n";
}

int train(const Common& common, const TrainArguments& arguments) {
    const OpenModel model(common);
    CodecTraining training(model.transformer, model.tokenizer, arguments.settings);
    const std::string& checkpoint = arguments.checkpoint;
    if (!checkpoint.empty() && std::filesystem::exists(checkpoint)) training.load_checkpoint(checkpoint);
    size_t points = training.curve().size();
    ProgressLine line;
    while (!training.done()) {
        line.show(training.progress(), training.stage());
        training.step();
        if (training.curve().size() == points) continue;
        points = training.curve().size();
        line.clear();
        show_point(training.curve().back());
        if (!checkpoint.empty() && training.between_rounds()) training.save_checkpoint(checkpoint);
    }
    line.clear();
    if (!arguments.out.empty())
        save_codec(arguments.out, *training.codec(), training.info(training.judged().back().figures));
    if (common.json)
        print_json(training.described());
    else
        print_table(training);
    return 0;
}

void add_network_options(CLI::App& command, LearnedSettings& s) {
    command.add_option("--architecture", s.architecture)
        ->check(CLI::IsMember({"layer_specific", "grouped", "unified", "conv", "attention"}))
        ->capture_default_str();
    command.add_option("--part", s.part, "What z holds: keys and values, hidden states, or both")
        ->check(CLI::IsMember({"kv", "hidden", "full"}))
        ->capture_default_str();
    command.add_option("--ratio", s.ratio, "Times smaller than fp16")
        ->check(CLI::Range(1.5, 200.0))
        ->capture_default_str();
    command.add_option("--group-size", s.group_size, "Blocks coded together")
        ->check(CLI::Range(1, 64))
        ->capture_default_str();
    command.add_option("--width", s.width, "Of the networks' hidden rows")
        ->check(CLI::Range(8, 4096))
        ->capture_default_str();
    command.add_option("--feed-forward", s.feed_forward)->check(CLI::Range(8, 16384))->capture_default_str();
    command.add_option("--heads", s.heads, "attention")->check(CLI::Range(1, 64))->capture_default_str();
    command.add_option("--window", s.window, "conv: tokens it spans")->check(CLI::Range(1, 256))->capture_default_str();
    command.add_flag("--recurrent", s.recurrent, "See the decoded state of the token before: E(x_t, z_t-1, h_t)");
    command.add_flag_callback(
        "--corrections", [&s] { s.corrects = true; },
        "Encoder and decoder networks, too, not only those that foretell z (default: not of kv)");
    command.add_flag_callback("--no-corrections", [&s] { s.corrects = false; });
    command.add_flag("!--no-token", s.from_token, "Do not predict from the token's embedding");
    command.add_flag("!--no-below", s.from_below, "Do not predict from the group below");
}

}  // namespace

void add_train(Registry registry) {
    auto arguments = std::make_shared<TrainArguments>();
    TrainingSettings& s = arguments->settings;
    CLI::App* command = add_command(registry, "train", "Train a learned codec and judge it beside the transform");
    add_network_options(*command, s.codec);
    command->add_option("--out", arguments->out, "File of the trained codec");
    command->add_option("--checkpoint", arguments->checkpoint,
                        "File kept after each round; an existing one is gone on with");
    command->add_option("--corpus", s.corpus, "fortunes, dict-gcide, code, a text or JSONL file, or a folder of them")
        ->capture_default_str();
    command->add_option("--tokens", s.fit_tokens, "Tokens to train on")
        ->check(CLI::Range(2048, 1 << 24))
        ->capture_default_str();
    command->add_option("--held-out-tokens", s.held_out_tokens)->check(CLI::Range(256, 1 << 20))->capture_default_str();
    command->add_option("--prefix", s.prefix)->check(CLI::Range(8, 4096))->capture_default_str();
    command->add_option("--followers", s.followers)->check(CLI::Range(2, 4096))->capture_default_str();
    command->add_option("--rounds", s.rounds)->check(CLI::Range(1, 100000))->capture_default_str();
    command->add_option("--sequences-per-round", s.sequences_per_round)
        ->check(CLI::Range(1, 1024))
        ->capture_default_str();
    command->add_option("--batch", s.batch, "Sequences of a gradient")->check(CLI::Range(1, 64))->capture_default_str();
    command->add_option("--accumulate", s.accumulate, "Gradients of a step")
        ->check(CLI::Range(1, 64))
        ->capture_default_str();
    command->add_flag(
        "--checkpointing", s.checkpointing,
        "Run the model's blocks again in the backward pass: the memory of one block, for a third more time");
    command->add_option("--learning-rate", s.learning_rate)->check(CLI::Range(1e-7, 1.0))->capture_default_str();
    command->add_option("--weight-decay", s.weight_decay)->check(CLI::Range(0.0, 1.0))->capture_default_str();
    command->add_option("--clip", s.clip)->check(CLI::Range(1e-6, 1e6))->capture_default_str();
    command->add_option("--lambda-hidden", s.lambda_hidden)->check(CLI::PositiveNumber)->capture_default_str();
    command->add_option("--lambda-kv", s.lambda_kv)->check(CLI::PositiveNumber)->capture_default_str();
    command
        ->add_option("--prior", s.codec.prior,
                     "What z is entropy-coded with: widths foretold for each value (context) or of components (fixed)")
        ->check(CLI::IsMember({"context", "fixed"}))
        ->capture_default_str();
    command->add_option("--quantizer", s.codec.quantizer, "Of z: uniform, or vq (product codebooks)")
        ->check(CLI::IsMember({"uniform", "vq"}))
        ->capture_default_str();
    command->add_option("--regularizer", s.regularizer, "R(z): rate, kl (variational) or l2")
        ->check(CLI::IsMember({"rate", "kl", "l2"}))
        ->capture_default_str();
    command->add_option("--lambda-rate", s.lambda_rate)->check(CLI::NonNegativeNumber)->capture_default_str();
    command->add_option("--lambda-kl", s.lambda_kl)->check(CLI::NonNegativeNumber)->capture_default_str();
    command->add_option("--kl-share", s.kl_share, "Share of the rounds, the last ones, with the KL term")
        ->check(CLI::Range(0.0, 1.0))
        ->capture_default_str();
    command->add_option("--progressive-rounds", s.progressive_rounds)
        ->check(CLI::Range(0, 100000))
        ->capture_default_str();
    command
        ->add_option("--own-share", s.own_share,
                     "With --recurrent: share of the tokens that see the decoded state before them, in the last round")
        ->check(CLI::Range(0.0, 1.0))
        ->capture_default_str();
    command->add_option("--warmup-rounds", s.warmup_rounds)->check(CLI::Range(0, 100000))->capture_default_str();
    command->add_option("--validate-every", s.validate_every)->check(CLI::Range(1, 100000))->capture_default_str();
    command->add_option("--patience", s.patience)->check(CLI::Range(1, 100000))->capture_default_str();
    command->add_option("--bracket", s.bracket, "Multiples of the ratio at which the transform is judged too")
        ->delimiter(',')
        ->capture_default_str();
    command->add_option("--seed", s.seed)->capture_default_str();
    command->callback([registry, arguments] {
        registry.chosen = [&common = registry.common, arguments] { return train(common, *arguments); };
    });
}

}  // namespace savepoint::cli
