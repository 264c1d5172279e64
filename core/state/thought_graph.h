#pragma once

#include <cmath>
#include <cstdint>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "core/model/rows.h"
#include "core/model/sampler_settings.h"
#include "core/state/edge_kind.h"

namespace savepoint {

// What is known about a token without keeping its state; kept in the session file.
struct TokenStats {
    float log_probability;   // of this token given the path before it, nats; NaN for the path's first
    float entropy;           // nats, of the next-token distribution after this token
    std::vector<Candidate> next;  // its ten most likely next tokens
    float anomaly = NAN;     // percentile 0..100 of the token score in the reference set; NaN: not scored
    float hidden_fvu = NAN;  // fraction of variance unexplained by decode(z) of this token; NaN: not measured
};

// How the model was run, so that replay can repeat it bit for bit: the first `prefilled` tokens of the
// thought went through prefill in chunks of `chunk`, the others one by one through decode.
struct ExecutionShape {
    int64_t prefilled = 0;
    int64_t chunk = 0;
    int32_t threads = 0;
    std::string device = "cpu";
    std::string precision = "float32";

    bool operator==(const ExecutionShape&) const = default;
};

// A node of the thought graph. It owns only its own tokens; its state at a token is the path
// root -> node. Row i of `rows` belongs to tokens[i].
struct Thought {
    ThoughtId id = 0;
    ThoughtId parent = 0;         // 0 for a root
    ThoughtId other_parent = 0;   // merge only
    int64_t prefix = 0;           // tokens of the parent's path that come before this thought's own
    EdgeKind edge = EdgeKind::root;
    std::vector<TokenId> tokens;
    int64_t prompt_tokens = 0;    // the first of `tokens` that were given, not sampled
    std::vector<TokenStats> stats;
    StateRows rows;               // any part may have been dropped (hidden first, then K/V)
    std::vector<RowEdit> edits;   // exact rows an intervention changed, ascending by position
    nlohmann::json provenance;    // how the edge was made: latent edits, changed token, chat messages
    SamplerSettings sampler;
    ExecutionShape shape;
    std::string label, note;
    bool bookmarked = false;
    double reward = 0;            // set by agents
    bool complete = true;         // false while its tokens are still being generated
};

// One stretch of a path: the first `count` own tokens of a thought, which begin at `first` in the path.
struct PathSpan {
    ThoughtId thought;
    int64_t first, count;
};

// The rewindable graph. Adding a branch costs O(1) memory before it generates. Thoughts are never
// changed once complete, except for labels, notes, bookmarks, rewards, stats and dropped rows.
class ThoughtGraph {
   public:
    // Checks the parent and the prefix (0 < prefix <= path length of the parent); throws InputError.
    ThoughtId add(Thought thought);  // gives it the next id; returns it
    const Thought& at(ThoughtId id) const;  // throws InputError
    Thought& edit(ThoughtId id);
    bool contains(ThoughtId id) const { return thoughts_.contains(id); }
    const std::map<ThoughtId, Thought>& thoughts() const { return thoughts_; }
    std::vector<ThoughtId> children(ThoughtId id) const;
    void remove(ThoughtId id);  // a leaf; throws InputError when it has children

    // Appends one token to an incomplete thought. `row` may be empty. Amortised O(1) (capacity doubles).
    void append(ThoughtId id, TokenId token, TokenStats stats, const StateRows& row);
    void complete(ThoughtId id);  // gives unused capacity back

    int64_t path_length(ThoughtId id) const;
    std::vector<PathSpan> path(ThoughtId id) const;                    // root first
    std::vector<PathSpan> path(ThoughtId id, int64_t tokens) const;    // its first `tokens` tokens
    std::vector<TokenId> path_tokens(ThoughtId id) const;
    StateRows path_rows(ThoughtId id, int64_t first, int64_t count) const;  // undefined parts when any span lacks them
    std::vector<RowEdit> path_edits(ThoughtId id) const;
    // The thought that owns a position of the path and the index among its own tokens.
    struct Owner { ThoughtId thought; int64_t index; };
    Owner owner(ThoughtId id, int64_t position) const;
    // Tokens that two paths share as the same (thought, index), from the root.
    int64_t shared_prefix(ThoughtId a, ThoughtId b) const;

    int64_t bytes() const;         // of all rows held
    void drop_hidden(ThoughtId id);
    void drop_kv(ThoughtId id);

   private:
    std::map<ThoughtId, Thought> thoughts_;
    ThoughtId next_id_ = 1;
};

}  // namespace savepoint
