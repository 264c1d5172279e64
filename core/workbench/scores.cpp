#include "core/workbench/scores.h"

#include <ATen/ATen.h>

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

void ScoreBook::forget(ThoughtId thought) {
    std::erase_if(runs_, [&](const auto& entry) { return entry.first.first == thought; });
}

const ScoreBook::Run* ScoreBook::find(ThoughtId thought, FeatureMap map) const {
    const auto found = runs_.find({thought, map});
    return found == runs_.end() ? nullptr : &found->second;
}

bool ScoreBook::advance(Desk& desk, ThoughtId thought, FeatureMap map, int64_t tokens) {
    for (const PathSpan& span : desk.graph.path(thought)) {
        Run& run = runs_[{span.thought, map}];
        if (run.scored >= span.count) continue;
        const Thought& owner = desk.graph.at(span.thought);
        if (reach_prefix(desk, owner, run, map))
            score(desk, owner, run, map, std::min(tokens, span.count - run.scored));
        return true;
    }
    return false;
}

// False: one piece of the prefix was added, and there is more (or its tokens are next).
bool ScoreBook::reach_prefix(Desk& desk, const Thought& thought, Run& run, FeatureMap map) {
    if (run.state.tokens >= thought.prefix) return true;
    const Run* parent = find(thought.parent, map);
    if (run.state.tokens == 0 && parent && parent->state.tokens == thought.prefix) {
        run.state = parent->state;
        return true;
    }
    run.state.map = map;
    const int64_t count = std::min(kPrefixPiece, thought.prefix - run.state.tokens);
    const StateRows rows = desk.graph.path_rows(thought.id, run.state.tokens, count);
    run.state.add_all(rows.key, rows.value);
    return false;
}

void ScoreBook::score(Desk& desk, const Thought& thought, Run& run, FeatureMap map, int64_t count) {
    const int64_t position = thought.prefix + run.scored;
    const StateRows rows = desk.graph.path_rows(thought.id, position, count);
    const auto ids = std::span(thought.tokens).subspan(run.scored, count);
    const at::Tensor query = desk.transformer().queries(rows, ids);
    run.state.map = map;
    const at::Tensor read = read_out(query, rows.key, rows.value, map, position > 0 ? &run.state : nullptr);
    run.state.add_all(rows.key, rows.value);

    const AnomalyScores scores = desk.reference(map)->score(read, position);
    append(run.percentile, scores.percentile);
    append(run.distance, scores.distance);
    append(run.token_percentile, scores.token_percentile);
    append(run.token_score, scores.token);
    const int64_t first = run.scored;
    run.scored += count;
    if (map == desk.map) write(desk, thought.id, run.token_percentile, first);
}

int64_t ScoreBook::scored(const Desk& desk, ThoughtId thought, FeatureMap map) const {
    int64_t total = 0;
    for (const PathSpan& span : desk.graph.path(thought)) {
        const Run* run = find(span.thought, map);
        total += run ? std::min(run->scored, span.count) : 0;
        if (!run || run->scored < span.count) break;
    }
    return total;
}

std::shared_ptr<const AnomalyView> ScoreBook::view(const Desk& desk, ThoughtId thought, FeatureMap map) const {
    const AnomalyReference* reference = desk.reference(map);
    if (!reference || thought == 0) return nullptr;
    auto view = std::make_shared<AnomalyView>();
    view->thought = thought;
    view->map = map;
    view->tokens = desk.graph.path_length(thought);
    view->layers = reference->layers();
    view->heads = reference->heads();
    const int64_t cells = view->layers * view->heads;
    for (const PathSpan& span : desk.graph.path(thought)) {
        const Run* run = find(span.thought, map);
        const int64_t count = run ? std::min(run->scored, span.count) : 0;
        if (count > 0) {
            append_part(view->percentile, run->percentile, count * cells);
            append_part(view->distance, run->distance, count * cells);
            append_part(view->token_percentile, run->token_percentile, count);
            append_part(view->token_score, run->token_score, count);
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

void ScoreBook::write_all(Desk& desk, FeatureMap map) const {
    for (const auto& [key, run] : runs_)
        if (key.second == map && desk.graph.contains(key.first)) write(desk, key.first, run.token_percentile, 0);
}

}  // namespace savepoint
