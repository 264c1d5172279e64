#include "core/workbench/latent_task.h"

#include <ATen/ATen.h>

#include <algorithm>

#include "core/model/error.h"
#include "core/model/sampler.h"
#include "core/workbench/desk.h"
#include "core/workbench/kept_codecs.h"
#include "core/workbench/rows_task.h"
#include "core/workbench/text.h"

namespace savepoint {
namespace {

KeptCodecs kept_codecs(const Desk& desk) {
    return {desk.need_model().weights, desk.fit.sidecar, desk.fit_folder, desk.codecs};
}

std::string size_of(double bytes) {
    return bytes < 1e6 ? fixed(bytes / 1e3, 0) + " kB" : fixed(bytes / 1e6, 2) + " MB";
}

std::vector<TokenStats> path_stats(const ThoughtGraph& graph, ThoughtId thought) {
    std::vector<TokenStats> all;
    for (const PathSpan& span : graph.path(thought)) {
        std::vector<TokenStats> own = graph.at(span.thought).stats;
        own.resize(static_cast<size_t>(span.count), TokenStats{NAN, NAN, {}});
        all.insert(all.end(), own.begin(), own.end());
    }
    // Of the tokens as they were made; what is measured of states is measured again of these.
    for (TokenStats& stats : all) stats.anomaly = stats.hidden_fvu = NAN;
    return all;
}

}  // namespace

struct LatentTask::Result {
    Thought thought;  // but for its z and its rows
    SavedLatent saved;
    ResumedPath resumed;
    double kl = NAN;  // of the next token, exact || decoded; NaN: there is no exact one
    double fp16_bytes = 0;
    std::string from;
};

LatentTask::LatentTask(Desk& desk, const command::KeepAsLatent& command)
    : Task(TaskKind::asked, "Keeping thought " + std::to_string(command.thought) + " as z"),
      desk_(desk),
      result_(std::make_shared<Result>()) {
    const ThoughtGraph& graph = desk.graph;
    const std::vector<TokenId> ids = graph.path_tokens(command.thought);
    const StateRows rows = graph.path_rows(command.thought, 0, static_cast<int64_t>(ids.size()));
    const PathSpan root = graph.path(command.thought).front();
    const Thought& first = graph.at(root.thought);
    Thought& thought = result_->thought;
    thought.stats = path_stats(graph, command.thought);
    thought.prompt_tokens = std::min(first.prompt_tokens, root.count);
    thought.sampler = graph.at(command.thought).sampler;
    thought.provenance = {{"from", command.thought}};
    if (first.provenance.contains("prompt")) thought.provenance["prompt"] = first.provenance["prompt"];
    result_->from = "thought " + std::to_string(command.thought);
    const auto work = [model = desk.model, codecs = kept_codecs(desk), name = command.codec, ids, rows,
                       result = result_](const Aside::Report& report) {
        const LoadedCodec codec = codecs.keep(name);
        report(0.4);
        const Transformer own(model->weights, model->transformer->device());
        result->saved = save_latent(own, codec, rows, ids, kExactFirstTokens);
        report(0.7);
        result->resumed = resumed_path(own, codec, result->saved);
        const at::Tensor last = last_rows(rows);
        if (last.defined())
            result->kl =
                kl_divergence(own.unembed(last.slice(0, last.size(0) - 1))[0], result->resumed.logits).item<double>();
        result->fp16_bytes =
            fp16_bytes(own.config(), codec.codec->part()) * static_cast<double>(result->saved.tokens.size());
    };
    aside_ = std::make_unique<Aside>(work, desk.wake);
}

LatentTask::LatentTask(Desk& desk, const command::ResumeLatent& command)
    : Task(TaskKind::asked, "Resuming " + command.path), desk_(desk), result_(std::make_shared<Result>()) {
    result_->from = command.path;
    result_->thought.provenance = {{"file", command.path}};
    const auto work = [model = desk.model, codecs = kept_codecs(desk), path = command.path,
                       result = result_](const Aside::Report& report) {
        result->saved = read_latent(path);
        const Transformer own(model->weights, model->transformer->device());
        if (static_cast<int64_t>(result->saved.tokens.size()) > own.config().context)
            throw FileError(path, "is longer than the model's context");
        const LoadedCodec codec = codecs.find(result->saved.z);
        report(0.5);
        try {
            result->resumed = resumed_path(own, codec, result->saved);
        } catch (const InputError& problem) {
            throw FileError(path, problem.what());
        }
        result->thought.stats.assign(result->saved.tokens.size(), TokenStats{NAN, NAN, {}});
        result->thought.prompt_tokens = static_cast<int64_t>(result->saved.tokens.size());
        result->fp16_bytes =
            fp16_bytes(own.config(), codec.codec->part()) * static_cast<double>(result->saved.tokens.size());
    };
    aside_ = std::make_unique<Aside>(work, desk.wake);
}

Step LatentTask::step() {
    if (!aside_->finished()) return Step::waiting;
    aside_->rethrow();
    add_thought();
    return Step::done;
}

void LatentTask::add_thought() {
    const StoredLatent& z = result_->saved.z;
    const auto bytes = static_cast<double>(z.bytes.size());
    Thought& thought = result_->thought;
    thought.edge = EdgeKind::decoded;
    thought.tokens = result_->saved.tokens;
    thought.latent = std::make_shared<const StoredLatent>(z);
    thought.rows = result_->resumed.rows;
    thought.shape = execution_shape(desk_.transformer(), z.exact_first);  // as resumed_path ran the model
    // What the model says after the last token now; all before were said on the way there.
    const Distribution next = describe(result_->resumed.logits, 10);
    thought.stats.back().entropy = next.entropy;
    thought.stats.back().next = next.top;
    const std::string size = size_of(bytes) + " for " + size_of(result_->fp16_bytes) + " in fp16";
    thought.provenance["fp16_bytes"] = result_->fp16_bytes;
    thought.provenance["detail"] = result_->from + " as z by " + z.codec + ": " + size;
    if (std::isfinite(result_->kl)) thought.provenance["kl_next"] = result_->kl;

    const ThoughtId id = desk_.graph.add(std::move(thought));
    desk_.graph.edit(id).edits = decoded_edits(result_->resumed.rows, z.exact_first);
    desk_.publisher.thought_changed(id);
    desk_.graph_changed();
    desk_.set_current(id);
    desk_.analyses.show(desk_);
    desk_.keep_selection();
    desk_.notices.info("thought " + std::to_string(id) + ": " + result_->from + " as z by " + z.codec + ", " + size +
                       (std::isfinite(result_->kl) ? "; KL of the next token " + fixed(result_->kl, 5) + " nats" : ""));
}

struct DecodeTask::One {
    ThoughtId id = 0;
    SavedLatent saved;
    StateRows rows;
};

DecodeTask::DecodeTask(Desk& desk, ThoughtId path) : Task(TaskKind::rows, "Decoding z"), desk_(desk) {
    const std::vector<PathSpan> spans = desk.graph.path(path);
    for (auto span = spans.rbegin(); span != spans.rend(); ++span)
        if (awaits_decoding(desk.graph.at(span->thought))) left_.push_back(span->thought);
    all_ = left_.size();
}

Step DecodeTask::step() {
    if (!aside_) {
        if (left_.empty()) {
            release_waiting_for_rows(desk_);
            return Step::done;
        }
        begin();
        return Step::waiting;
    }
    if (!aside_->finished()) return Step::waiting;
    aside_->rethrow();
    adopt();
    return Step::again;
}

void DecodeTask::begin() {
    const Thought& thought = desk_.graph.at(left_.back());
    one_ = std::make_shared<One>();
    one_->id = thought.id;
    one_->saved = {thought.tokens, *thought.latent, desk_.need_model().weights->sha256()};
    const auto work = [model = desk_.model, codecs = kept_codecs(desk_), one = one_](const Aside::Report&) {
        const LoadedCodec codec = codecs.find(one->saved.z);
        const Transformer own(model->weights, model->transformer->device());
        one->rows = resumed_path(own, codec, one->saved).rows;
    };
    aside_ = std::make_unique<Aside>(work, desk_.wake);
}

void DecodeTask::adopt() {
    aside_.reset();
    left_.pop_back();
    Thought& thought = desk_.graph.edit(one_->id);
    thought.rows.key = one_->rows.key;
    thought.rows.value = one_->rows.value;
    thought.edits = decoded_edits(one_->rows, one_->saved.z.exact_first);
    desk_.publisher.thought_changed(one_->id);
}

void DecodeTask::stop() {
    desk_.rows_refused.insert(left_.begin(), left_.end());
    desk_.after_rows.clear();
}

double DecodeTask::progress() const {
    return all_ > 0 ? static_cast<double>(all_ - left_.size()) / static_cast<double>(all_) : 1;
}

}  // namespace savepoint
