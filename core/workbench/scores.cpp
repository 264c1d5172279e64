#include "core/workbench/scores.h"

#include <ATen/ATen.h>

#include <numeric>

#include "core/workbench/desk.h"

namespace savepoint {
namespace {

constexpr int64_t kPrefixPiece = 256;

void append(std::vector<float>& to, const at::Tensor& tensor) {
    const at::Tensor flat = tensor.contiguous();
    const float* data = flat.const_data_ptr<float>();
    to.insert(to.end(), data, data + flat.numel());
}

void append_part(std::vector<float>& to, const std::vector<float>& from, int64_t count) {
    to.insert(to.end(), from.begin(), from.begin() + count);
}

void write(Desk& desk, ThoughtId id, const std::vector<float>& token_percentile, int64_t first) {
    Thought& thought = desk.graph.edit(id);
    const auto end = static_cast<int64_t>(token_percentile.size());
    for (int64_t i = first; i < end; ++i) thought.stats[i].anomaly = token_percentile[i];
    desk.publisher.tokens_changed(id, first, end - first);
}

}  // namespace

void ScoreBook::clear() {
    runs_.clear();
    queries_.clear();
}

bool ScoreBook::wants_queries(const Desk& desk) const {
    const auto reference = desk.references.active(desk);
    return reference && reference->stream().reads_queries();
}

void ScoreBook::take_query(ThoughtId thought, int64_t position, at::Tensor query) {
    queries_.add(thought, position, std::move(query));
}

void ScoreBook::forget(ThoughtId thought) {
    std::erase_if(runs_, [&](const auto& entry) { return entry.first.first == thought; });
    queries_.clear();
}

const ScoreBook::Run* ScoreBook::find(ThoughtId thought, const AnomalyReference& reference) const {
    const auto found = runs_.find({thought, reference.name()});
    return found == runs_.end() ? nullptr : &found->second;
}

bool ScoreBook::advance(Desk& desk, ThoughtId thought, int64_t tokens) {
    const auto in_use = desk.references.active(desk);
    const AnomalyReference& reference = *in_use;
    for (const PathSpan& span : desk.graph.path(thought)) {
        const auto [entry, made] = runs_.try_emplace({span.thought, reference.name()});
        Run& run = entry->second;
        if (made) run.stream = reference.stream();
        if (run.scored >= span.count) continue;
        const Thought& owner = desk.graph.at(span.thought);
        if (reach_prefix(desk, owner, run, reference))
            score(desk, owner, run, reference, std::min(tokens, span.count - run.scored));
        return true;
    }
    return false;
}

// False: one piece of the prefix was added, and there is more (or its tokens are next).
bool ScoreBook::reach_prefix(Desk& desk, const Thought& thought, Run& run, const AnomalyReference& reference) {
    if (run.stream.tokens() >= thought.prefix) return true;
    const Run* parent = find(thought.parent, reference);
    if (run.stream.tokens() == 0 && parent && parent->stream.tokens() == thought.prefix) {
        run.stream = parent->stream;
        return true;
    }
    const int64_t position = run.stream.tokens(), count = std::min(kPrefixPiece, thought.prefix - position);
    const AttendedRows rows =
        attended_rows(desk, thought.id, position, count, reference.choice().phi.rotary, !run.stream.skips_queries());
    run.stream.skip(rows.query, rows.key, rows.value);
    return false;
}

void ScoreBook::score(Desk& desk, const Thought& thought, Run& run, const AnomalyReference& reference, int64_t count) {
    const int64_t position = thought.prefix + run.scored;
    const AttendedRows rows = attended_rows(desk, thought.id, position, count, reference.choice().phi.rotary,
                                            run.stream.reads_queries(), queries_.find(thought.id, position, count));
    const FormRows features = run.stream.next(rows.query, rows.key, rows.value);
    const AnomalyScores scores = reference.score(features.values, position);
    append(run.percentile, scores.percentile);
    append(run.distance, scores.distance);
    append(run.token_percentile, scores.token_percentile);
    append(run.token_score, scores.token);
    const int64_t* masked = features.masked.const_data_ptr<int64_t>();
    run.masked.insert(run.masked.end(), masked, masked + count);
    const int64_t first = run.scored;
    run.scored += count;
    write(desk, thought.id, run.token_percentile, first);
}

int64_t ScoreBook::scored(const Desk& desk, ThoughtId thought) const {
    const auto reference = desk.references.active(desk);
    int64_t total = 0;
    if (!reference) return total;
    for (const PathSpan& span : desk.graph.path(thought)) {
        const Run* run = find(span.thought, *reference);
        total += run ? std::min(run->scored, span.count) : 0;
        if (!run || run->scored < span.count) break;
    }
    return total;
}

std::shared_ptr<const AnomalyView> ScoreBook::view(const Desk& desk, ThoughtId thought) const {
    const auto reference = desk.references.active(desk);
    if (!reference || thought == 0) return nullptr;
    auto view = std::make_shared<AnomalyView>();
    view->thought = thought;
    view->choice = reference->choice();
    view->tokens = desk.graph.path_length(thought);
    view->layers = reference->layers();
    view->heads = reference->units();
    const int64_t cells = view->layers * view->heads;
    for (const PathSpan& span : desk.graph.path(thought)) {
        const Run* run = find(span.thought, *reference);
        const int64_t count = run ? std::min(run->scored, span.count) : 0;
        if (count > 0) {
            append_part(view->percentile, run->percentile, count * cells);
            append_part(view->distance, run->distance, count * cells);
            append_part(view->token_percentile, run->token_percentile, count);
            append_part(view->token_score, run->token_score, count);
            view->masked += std::accumulate(run->masked.begin(), run->masked.begin() + count, int64_t{0});
        }
        view->scored += count;
        if (count < span.count) break;
    }
    view->percentile.resize(static_cast<size_t>(view->tokens * cells), NAN);
    view->distance.resize(static_cast<size_t>(view->tokens * cells), NAN);
    view->token_percentile.resize(static_cast<size_t>(view->tokens), NAN);
    view->token_score.resize(static_cast<size_t>(view->tokens), NAN);
    return view;
}

void ScoreBook::write_all(Desk& desk) const {
    const auto reference = desk.references.active(desk);
    if (!reference) return;
    for (const auto& [key, run] : runs_)
        if (key.second == reference->name() && desk.graph.contains(key.first))
            write(desk, key.first, run.token_percentile, 0);
}

}  // namespace savepoint
