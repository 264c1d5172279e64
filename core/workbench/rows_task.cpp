#include "core/workbench/rows_task.h"

#include <algorithm>

#include "core/workbench/desk.h"
#include "core/workbench/latent_task.h"

namespace savepoint {

bool rows_are_there(const Desk& desk, ThoughtId thought) {
    const Thought& owner = desk.graph.at(thought);
    return owner.tokens.empty() || (owner.rows.has_hidden() && owner.rows.has_kv());
}

bool path_rows_are_there(const Desk& desk, ThoughtId thought) {
    const auto path = desk.graph.path(thought);
    return std::all_of(path.begin(), path.end(),
                       [&](const PathSpan& span) { return rows_are_there(desk, span.thought); });
}

bool path_kv_is_there(const Desk& desk, ThoughtId thought) {
    const auto path = desk.graph.path(thought);
    return std::all_of(path.begin(), path.end(), [&](const PathSpan& span) {
        const Thought& owner = desk.graph.at(span.thought);
        return owner.tokens.empty() || owner.rows.has_kv();
    });
}

void request_rows(Desk& desk, ThoughtId thought) {
    if (path_rows_are_there(desk, thought) || desk.tasks.has(TaskKind::rows)) return;
    const auto path = desk.graph.path(thought);
    const bool undecoded = std::any_of(
        path.begin(), path.end(), [&](const PathSpan& span) { return awaits_decoding(desk.graph.at(span.thought)); });
    if (undecoded)
        desk.tasks.add(std::make_unique<DecodeTask>(desk, thought));
    else
        desk.tasks.add(std::make_unique<RowsTask>(desk, thought));
}

void release_waiting_for_rows(Desk& desk) {
    desk.redo.insert(desk.redo.end(), desk.after_rows.begin(), desk.after_rows.end());
    desk.after_rows.clear();
    desk.analyses.wake();
    desk.refresh_latent();
}

RowsTask::RowsTask(Desk& desk, ThoughtId thought)
    : Task(TaskKind::rows, "Recomputing hidden states"),
      desk_(desk),
      path_(thought),
      cache_(std::make_unique<LiveCache>(desk.transformer(), desk.graph)) {
    const auto path = desk.graph.path(thought);
    for (auto span = path.rbegin(); span != path.rend(); ++span) {
        if (rows_are_there(desk, span->thought)) continue;
        left_.push_back(span->thought);
        tokens_all_ += static_cast<int64_t>(desk.graph.at(span->thought).tokens.size());
    }
}

Step RowsTask::step() {
    if (thought_ == 0) {
        if (left_.empty()) {
            release_waiting_for_rows(desk_);
            return Step::done;
        }
        begin(left_.back());
        left_.pop_back();
    }
    run(passes_[next_pass_++]);
    if (next_pass_ == passes_.size()) finish();
    return Step::again;
}

void RowsTask::begin(ThoughtId thought) {
    thought_ = thought;
    passes_ = passes_of(desk_.graph.at(thought));
    next_pass_ = 0;
    parts_.clear();
    cache_->rewind(thought, desk_.graph.at(thought).prefix);
}

void RowsTask::run(const Pass& pass) {
    const Thought& thought = desk_.graph.at(thought_);
    const ThreadsOf same_threads(thought.shape);
    ForwardOptions options;
    options.logits = Logits::none;
    options.edit = pass.edit;
    KvCache& cache = cache_->cache();
    const Transformer& model = desk_.transformer();
    if (pass.decoded)
        parts_.push_back(model.decode(cache, thought.tokens[pass.first], options).rows);
    else
        parts_.push_back(model.prefill(cache, std::span(thought.tokens).subspan(pass.first, pass.count), options).rows);
    tokens_done_ += pass.count;
}

void RowsTask::finish() {
    cache_->advanced(thought_);
    const StateRows rows = concat(parts_);
    StateRows& held = desk_.graph.edit(thought_).rows;
    held.hidden = rows.hidden;
    if (!held.has_kv()) {
        held.key = rows.key;
        held.value = rows.value;
    }
    desk_.publisher.thought_changed(thought_);
    parts_.clear();
    thought_ = 0;
}

void RowsTask::stop() {
    refuse();
    desk_.after_rows.clear();
}

void RowsTask::refuse() {
    if (thought_ != 0) desk_.rows_refused.insert(thought_);
    desk_.rows_refused.insert(left_.begin(), left_.end());
}

double RowsTask::progress() const {
    return tokens_all_ > 0 ? static_cast<double>(tokens_done_) / static_cast<double>(tokens_all_) : 1;
}

}  // namespace savepoint
