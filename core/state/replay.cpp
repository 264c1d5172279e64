#include "core/state/replay.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <span>

#include "core/model/device.h"
#include "core/model/error.h"

namespace savepoint {
namespace {

constexpr int64_t kSpareTokens = 64;
constexpr int64_t kPrefillChunk = 128;
constexpr int32_t kMostThreads = 256;  // a file may ask for any number

int64_t length_of(const std::vector<PathSpan>& path) {
    return path.empty() ? 0 : path.back().first + path.back().count;
}

void use_threads(int count) {
    if (count > 0 && count <= kMostThreads && count != threads()) set_threads(count);
}

const RowEdit* edit_at(const Thought& thought, int64_t index) {
    const auto found = std::find_if(thought.edits.begin(), thought.edits.end(),
                                    [&](const RowEdit& edit) { return edit.position == thought.prefix + index; });
    return found == thought.edits.end() ? nullptr : &*found;
}

int64_t next_edit(const Thought& thought, int64_t index, int64_t end) {
    for (const RowEdit& edit : thought.edits)
        if (edit.position >= thought.prefix + index) return std::min(end, edit.position - thought.prefix);
    return end;
}

Pass pass_at(const Thought& thought, int64_t index, int64_t prefilled) {
    const RowEdit* edit = edit_at(thought, index);
    if (edit || index >= prefilled) return {index, 1, true, edit};
    int64_t count = next_edit(thought, index, prefilled) - index;
    if (thought.shape.chunk > 0) count = std::min(count, thought.shape.chunk);
    return {index, count, false, nullptr};
}

// The passes that touch own tokens [first, first + count): a pass is run whole or not at all.
std::vector<Pass> passes_over(const Thought& thought, int64_t first, int64_t count) {
    std::vector<Pass> passes = passes_of(thought);
    std::erase_if(passes,
                  [&](const Pass& pass) { return pass.first + pass.count <= first || pass.first >= first + count; });
    return passes;
}

StateRows run(const Transformer& model, KvCache& cache, const Thought& thought, const Pass& pass, bool capture) {
    ForwardOptions options;
    options.logits = Logits::none;
    options.capture = capture;
    options.edit = pass.edit;
    cache.reserve(cache.length() + pass.count);
    if (pass.decoded) return model.decode(cache, thought.tokens[pass.first], options).rows;
    return model.prefill(cache, std::span(thought.tokens).subspan(pass.first, pass.count), options).rows;
}

bool has_kv(const Thought& thought) { return thought.rows.has_kv(); }

// A replayed pass may reach beyond the tokens that were asked for; whatever happens, they must go.
class TruncateTo {
   public:
    TruncateTo(KvCache& cache, int64_t length) : cache_(cache), length_(length) {}
    ~TruncateTo() {
        if (cache_.length() > length_) cache_.truncate(length_);
    }
    TruncateTo(const TruncateTo&) = delete;
    TruncateTo& operator=(const TruncateTo&) = delete;

   private:
    KvCache& cache_;
    int64_t length_;
};

StateRows replay_span(const Transformer& model, KvCache& cache, const Thought& thought, const PathSpan& span,
                      const std::function<bool()>& keep_going) {
    const ThreadsOf same_threads(thought.shape);
    const TruncateTo end(cache, span.first + span.count);
    std::vector<StateRows> parts;
    for (const Pass& pass : passes_over(thought, 0, span.count)) {
        if (keep_going && !keep_going()) throw Cancelled();
        parts.push_back(run(model, cache, thought, pass, true));
    }
    return concat(parts).slice(0, span.count);
}

}  // namespace

ThreadsOf::ThreadsOf(const ExecutionShape& shape) : before_(threads()) { use_threads(shape.threads); }

ThreadsOf::~ThreadsOf() { use_threads(before_); }

ExecutionShape execution_shape(const Transformer& model, int64_t prefilled) {
    return {prefilled, kPrefillChunk, threads(), model.device().is_cpu() ? "cpu" : "cuda"};
}

std::vector<Pass> passes_of(const Thought& thought) {
    if (awaits_decoding(thought))
        throw Error("thought " + std::to_string(thought.id) + " is kept as z, which has not been decoded");
    const auto tokens = static_cast<int64_t>(thought.tokens.size());
    const int64_t prefilled = std::min(thought.shape.prefilled, tokens);
    std::vector<Pass> passes;
    for (int64_t index = 0; index < tokens; index += passes.back().count)
        passes.push_back(pass_at(thought, index, prefilled));
    return passes;
}

LiveCache::LiveCache(const Transformer& model, const ThoughtGraph& graph)
    : model_(model), graph_(graph), cache_(model.make_cache(kSpareTokens)) {}

KvCache& LiveCache::rewind(ThoughtId thought, int64_t tokens, const std::function<bool()>& keep_going) {
    std::vector<PathSpan> wanted = graph_.path(thought, tokens);
    cache_.truncate(std::min(cache_.length(), shared_prefix(held_, wanted)));
    held_ = std::move(wanted);
    cache_.reserve(tokens + kSpareTokens);
    for (const PathSpan& span : held_) fill(span, keep_going);
    return cache_;
}

void LiveCache::fill(const PathSpan& span, const std::function<bool()>& keep_going) {
    const int64_t done = cache_.length() - span.first;
    if (done >= span.count) return;
    const Thought& thought = graph_.at(span.thought);
    if (has_kv(thought))
        model_.restore(cache_, thought.rows.slice(done, span.count - done));
    else
        replay(thought, span, keep_going);
}

void LiveCache::replay(const Thought& thought, const PathSpan& span, const std::function<bool()>& keep_going) {
    const ThreadsOf same_threads(thought.shape);
    const TruncateTo end(cache_, span.first + span.count);
    const int64_t done = cache_.length() - span.first;
    const std::vector<Pass> passes = passes_over(thought, done, span.count - done);
    cache_.truncate(span.first + passes.front().first);
    for (const Pass& pass : passes) {
        if (keep_going && !keep_going()) throw Cancelled();
        run(model_, cache_, thought, pass, false);
    }
}

void LiveCache::advanced(ThoughtId thought) {
    std::vector<PathSpan> now = graph_.path(thought, cache_.length());
    if (shared_prefix(held_, now) < std::min(length_of(held_), cache_.length()))
        throw Error("the cache does not hold the path of thought " + std::to_string(thought));
    held_ = std::move(now);
}

at::Tensor LiveCache::next_logits(ThoughtId thought, int64_t tokens) {
    const ThoughtGraph::Owner owner = graph_.owner(thought, tokens - 1);
    const Thought& owning = graph_.at(owner.thought);
    at::Tensor last = last_rows(owning.rows);
    if (last.defined()) return model_.unembed(last[owner.index].unsqueeze(0))[0];

    const Pass pass = passes_over(owning, owner.index, 1).front();
    rewind(thought, owning.prefix + pass.first);
    const ThreadsOf same_threads(owning.shape);
    const TruncateTo end(cache_, tokens);
    last = last_rows(run(model_, cache_, owning, pass, true));
    held_ = graph_.path(thought, tokens);
    return model_.unembed(last[owner.index - pass.first].unsqueeze(0))[0];
}

void LiveCache::forget() {
    cache_.truncate(0);
    held_.clear();
}

StateRows replay_path(const Transformer& model, const ThoughtGraph& graph, ThoughtId thought,
                      const std::function<bool(double)>& keep_going) {
    const std::vector<PathSpan> path = graph.path(thought);
    const auto total = static_cast<double>(length_of(path));
    KvCache cache = model.make_cache(length_of(path) + kSpareTokens);
    const auto ask = [&] { return !keep_going || keep_going(static_cast<double>(cache.length()) / total); };
    std::vector<StateRows> parts;
    for (const PathSpan& span : path) parts.push_back(replay_span(model, cache, graph.at(span.thought), span, ask));
    return concat(parts);
}

}  // namespace savepoint
