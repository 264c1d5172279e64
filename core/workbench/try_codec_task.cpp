#include "core/workbench/try_codec_task.h"

#include "core/model/error.h"
#include "core/sidecar/codec_evaluation.h"
#include "core/sidecar/latent_file.h"
#include "core/workbench/codec_view.h"
#include "core/workbench/desk.h"

namespace savepoint {
namespace {

constexpr int64_t kShortest = kExactFirstTokens + 4;  // of a path, so that something is decoded and something follows

int64_t prefix_of(const command::TryCodec& command, int64_t length) {
    if (length < kShortest)
        throw InputError("trying a codec needs a path of at least " + std::to_string(kShortest) + " tokens");
    const int64_t prefix = command.prefix == 0 ? std::max(length / 2, kExactFirstTokens + 2) : command.prefix;
    if (prefix <= kExactFirstTokens || prefix >= length)
        throw InputError("prefix is " + std::to_string(prefix) + "; it must be from " +
                         std::to_string(kExactFirstTokens + 1) + " to " + std::to_string(length - 1));
    return prefix;
}

CodecFigures judged(const Transformer& model, const std::vector<TokenId>& ids, int64_t prefix,
                    std::shared_ptr<const RunCodec> codec, double& replay_tokens_per_s) {
    CodecEvaluation evaluation(model, {ids},
                               {prefix, static_cast<int64_t>(ids.size()) - prefix, kExactFirstTokens, /*batch=*/1});
    evaluation.prepare();
    replay_tokens_per_s = evaluation.replay_tokens_per_s();
    CodecTrial trial(evaluation, std::move(codec));
    while (!trial.done()) trial.step();
    return trial.figures();
}

// What comes after the whole path.
GreedyPair gone_on(const Transformer& model, const std::vector<TokenId>& ids, std::shared_ptr<const RunCodec> codec,
                   int64_t tokens) {
    LongRunSettings settings;
    settings.prefix = static_cast<int64_t>(ids.size());
    settings.exact_first = kExactFirstTokens;
    settings.greedy_tokens = tokens;
    settings.rounds = 0;
    LongRuns runs(model, {ids}, std::move(codec), settings);
    runs.step();
    return runs.greedy().front();
}

}  // namespace

TryCodecTask::TryCodecTask(Desk& desk, const command::TryCodec& command)
    : Task(TaskKind::asked, "Trying " + command.codec), desk_(desk) {
    const std::vector<TokenId> ids = desk.graph.path_tokens(command.thought);
    const auto length = static_cast<int64_t>(ids.size());
    if (command.greedy_tokens < 1 || length + command.greedy_tokens > desk.transformer().config().context)
        throw InputError("greedy_tokens: " + std::to_string(command.greedy_tokens) +
                         " do not fit between the path and the model's context");
    view_->thought = command.thought;
    view_->prefix = prefix_of(command, length);
    view_->followers = length - view_->prefix;
    view_->greedy_tokens = command.greedy_tokens;
    const auto work = [model = desk.model, source = desk.codecs.find(command.codec), ids,
                       view = view_](const Aside::Report& report) {
        const std::shared_ptr<const RunCodec> codec = source(model->weights);
        report(0.2);
        const Transformer own(model->weights, model->transformer->device());
        view->codec = codec_view(judged(own, ids, view->prefix, codec, view->replay_tokens_per_s));
        report(0.6);
        if (codec->part() == CodedPart::hidden) return;
        const GreedyPair pair = gone_on(own, ids, codec, view->greedy_tokens);
        view->agreement = pair.agreement();
        view->exact_text = model->tokenizer->decode(pair.exact);
        view->resumed_text = model->tokenizer->decode(pair.resumed);
    };
    aside_ = std::make_unique<Aside>(work, desk.wake);
}

Step TryCodecTask::step() {
    if (!aside_->finished()) return Step::waiting;
    aside_->rethrow();
    desk_.publisher.set_codec_trial(view_);
    return Step::done;
}

}  // namespace savepoint
