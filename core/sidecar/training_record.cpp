#include "core/sidecar/training_record.h"

#include <algorithm>
#include <cmath>

#include "core/model/error.h"
#include "core/sidecar/latent_regularizer.h"
#include "core/sidecar/run_codec.h"

namespace savepoint {

namespace {

void require(bool condition, const std::string& message) {
    if (!condition) throw InputError("training: " + message);
}

}  // namespace

nlohmann::json described(const TrainingSettings& s) {
    const LearnedSettings& c = s.codec;
    return {{"architecture", c.architecture},
            {"part", c.part},
            {"group_size", c.group_size},
            {"width", c.width},
            {"feed_forward", c.feed_forward},
            {"heads", c.heads},
            {"window", c.window},
            {"from_token", c.from_token},
            {"from_below", c.from_below},
            {"corrects", c.corrections()},
            {"recurrent", c.recurrent},
            {"quantizer", c.quantizer},
            {"prior", c.prior},
            {"ratio", c.ratio},
            {"corpus", s.corpus},
            {"fit_tokens", s.fit_tokens},
            {"held_out_tokens", s.held_out_tokens},
            {"prefix", s.prefix},
            {"followers", s.followers},
            {"exact_first", s.exact_first},
            {"lambda_hidden", s.lambda_hidden},
            {"lambda_kv", s.lambda_kv},
            {"regularizer", s.regularizer},
            {"lambda_rate", s.lambda_rate},
            {"lambda_kl", s.lambda_kl},
            {"kl_share", s.kl_share},
            {"rounds", s.rounds},
            {"sequences_per_round", s.sequences_per_round},
            {"batch", s.batch},
            {"accumulate", s.accumulate},
            {"checkpointing", s.checkpointing},
            {"progressive_rounds", s.progressive_rounds},
            {"own_share", s.own_share},
            {"learning_rate", s.learning_rate},
            {"weight_decay", s.weight_decay},
            {"clip", s.clip},
            {"warmup_rounds", s.warmup_rounds},
            {"validate_every", s.validate_every},
            {"patience", s.patience},
            {"bracket", s.bracket},
            {"seed", s.seed}};
}

nlohmann::json described(const TrainingPoint& p) {
    return {{"round", p.round},
            {"loss", p.loss},
            {"distortion", p.distortion},
            {"rate_bits", p.rate_bits},
            {"kl", number_or_null(p.kl)},
            {"learning_rate", p.learning_rate},
            {"held_out_loss", number_or_null(p.held_out_loss)},
            {"held_out_bits", number_or_null(p.held_out_bits)},
            {"held_out_kl", number_or_null(p.held_out_kl)},
            {"words_used", number_or_null(p.words_used)},
            {"group_bits", p.group_bits}};
}

TrainingPoint training_point_from(const nlohmann::json& j) {
    TrainingPoint p;
    p.round = j.at("round");
    p.loss = j.at("loss");
    p.distortion = j.at("distortion");
    p.rate_bits = j.at("rate_bits");
    p.kl = number_or_nan(j.at("kl"));
    p.learning_rate = j.at("learning_rate");
    p.held_out_loss = number_or_nan(j.at("held_out_loss"));
    p.held_out_bits = number_or_nan(j.at("held_out_bits"));
    p.held_out_kl = number_or_nan(j.at("held_out_kl"));
    p.words_used = number_or_nan(j.at("words_used"));
    p.group_bits = j.at("group_bits").get<std::vector<double>>();
    return p;
}

TrainingSettings settled(TrainingSettings s) {
    LearnedSettings& c = s.codec;
    coded_part_from(c.part);
    const std::vector<std::string> known = {"layer_specific", "grouped", "unified", "conv", "attention"};
    require(std::find(known.begin(), known.end(), c.architecture) != known.end(),
            "there is no architecture \"" + c.architecture + "\"");
    if (c.architecture == "layer_specific") c.group_size = 1;
    if (c.architecture == "layer_specific" || c.architecture == "unified") c.from_below = false;
    require(!c.recurrent || c.architecture == "grouped" || c.architecture == "layer_specific",
            "recurrent goes with grouped and layer_specific, which do not mix tokens otherwise");
    require(c.width > 0 && c.heads > 0 && c.width % c.heads == 0, "heads must divide width");
    require(c.ratio >= 1.5 && c.ratio <= 200, "ratio must lie between 1.5 and 200");
    require(s.batch > 0 && s.sequences_per_round >= s.batch && s.sequences_per_round % s.batch == 0,
            "sequences_per_round must be a multiple of batch");
    require(s.rounds > 0 && s.accumulate > 0 && s.validate_every > 0,
            "rounds, accumulate and validate_every begin at 1");
    require(s.prefix > s.exact_first && s.followers > 0, "the prefix must be longer than its exact first tokens");
    require(c.quantizer == "uniform" || c.quantizer == "vq", "there is no quantizer \"" + c.quantizer + "\"");
    require(c.prior == "context" || c.prior == "fixed", "there is no prior \"" + c.prior + "\"");
    // Words are coded by how often they occur, and what z's squares are weighed by says nothing of its width.
    if (c.quantizer == "vq" || s.regularizer == "l2") c.prior = "fixed";
    if (c.quantizer == "vq") s.regularizer = "commitment";
    require(is_regularizer(s.regularizer) || c.quantizer == "vq", "there is no regularizer \"" + s.regularizer + "\"");
    require(s.own_share >= 0 && s.own_share <= 1, "own_share must lie between 0 and 1");
    require(s.lambda_hidden > 0 && s.lambda_kv > 0, "lambda_hidden and lambda_kv must be above 0");
    return s;
}

nlohmann::json described(const TrainingProgress& progress) {
    nlohmann::json points = nlohmann::json::array();
    for (const TrainingPoint& point : progress.curve) points.push_back(described(point));
    return {{"round", progress.round},
            {"worse", progress.worse},
            {"best_score", number_or_null(progress.best_score)},
            {"curve", points}};
}

TrainingProgress training_progress_from(const nlohmann::json& described) {
    TrainingProgress progress;
    progress.round = described.at("round");
    progress.worse = described.at("worse");
    const double score = number_or_nan(described.at("best_score"));
    if (std::isfinite(score)) progress.best_score = score;
    for (const auto& point : described.at("curve")) progress.curve.push_back(training_point_from(point));
    return progress;
}

}  // namespace savepoint
