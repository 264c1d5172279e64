#pragma once

#include <cmath>
#include <cstdint>
#include <map>
#include <memory>
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
    float log_probability;        // of this token given the path before it, nats; NaN for the path's first
    float entropy;                // nats, of the next-token distribution after this token
    std::vector<Candidate> next;  // its ten most likely next tokens
    float anomaly = NAN;          // percentile 0..100 of the token score in the reference set; NaN: not scored
    float hidden_fvu = NAN;       // fraction of variance unexplained by decode(z) of this token; NaN: not measured
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

// z of a whole path of n tokens, as a codec coded it: of the tokens behind the first `exact_first` and before the last,
// which are run by the model. core/sidecar makes rows of it.
struct StoredLatent {
    std::string bytes;
    std::string codec, codec_digest;  // its name; sha256 that says which file decodes it
    int64_t exact_first = 0;
};

// A node of the thought graph. It owns only its own tokens; its state at a token is the path
// root -> node. Row i of `rows` belongs to tokens[i].
struct Thought {
    ThoughtId id = 0;
    ThoughtId parent = 0;        // 0 for a root
    ThoughtId other_parent = 0;  // merge only
    int64_t prefix = 0;          // tokens of the parent's path that come before this thought's own
    EdgeKind edge = EdgeKind::root;
    std::vector<TokenId> tokens;
    int64_t prompt_tokens = 0;  // the first of `tokens` that were given, not sampled
    std::vector<TokenStats> stats;
    StateRows rows;              // any part may have been dropped (hidden first, then K/V)
    std::vector<RowEdit> edits;  // exact rows an intervention changed, ascending by position
    // Of an edge `decoded`, else null: the state is D(z). Decoding it fills `edits` with the keys and values of every
    // coded token, in the place of what the model would compute, and these then hold as any intervention's do.
    std::shared_ptr<const StoredLatent> latent;
    nlohmann::json provenance;  // how the edge was made: latent edits, changed token, chat messages
    SamplerSettings sampler;
    ExecutionShape shape;
    std::string label, note;
    bool bookmarked = false;
    double reward = 0;     // set by agents
    bool complete = true;  // false while its tokens are still being generated
};

// One stretch of a path: the first `count` own tokens of a thought, which begin at `first` in the path.
struct PathSpan {
    ThoughtId thought;
    int64_t first, count;
};

// Tokens that two paths share as the same (thought, index), from the root.
int64_t shared_prefix(const std::vector<PathSpan>& a, const std::vector<PathSpan>& b);

// The rewindable graph. Adding a branch costs O(1) memory before it generates. Thoughts are never
// changed once complete, except for labels, notes, bookmarks, rewards, stats and dropped rows.
class ThoughtGraph {
   public:
    // Checks the thought (check_thought) and its place: 0 < prefix <= path length of the parent. An
    // intervention or counterfactual at the path's very first token has prefix 0. Throws InputError.
    ThoughtId add(Thought thought);  // gives it the next id; returns it
    void insert(Thought thought);    // the same, keeping its id: for reading files; ids above all held ones only
    ThoughtId next_id() const { return next_id_; }
    void reserve_ids(ThoughtId next);       // so that the ids of removed thoughts are not given again
    const Thought& at(ThoughtId id) const;  // throws InputError
    Thought& edit(ThoughtId id);
    bool contains(ThoughtId id) const { return thoughts_.contains(id); }
    const std::map<ThoughtId, Thought>& thoughts() const { return thoughts_; }
    std::vector<ThoughtId> children(ThoughtId id) const;  // ascending; a merge is a child of its primary parent
    void remove(ThoughtId id);  // a leaf; throws InputError when it has children or a merge took from it

    // Appends one token to an incomplete thought. Amortised O(1) (capacity doubles). Each part of `rows`
    // holds either a row for every token or nothing: a part that `row` lacks is dropped from then on.
    void append(ThoughtId id, TokenId token, TokenStats stats, const StateRows& row);
    void complete(ThoughtId id);  // gives unused capacity back

    int64_t path_length(ThoughtId id) const;
    std::vector<PathSpan> path(ThoughtId id) const;                  // root first
    std::vector<PathSpan> path(ThoughtId id, int64_t tokens) const;  // its first `tokens` tokens
    std::vector<TokenId> path_tokens(ThoughtId id) const;
    StateRows path_rows(ThoughtId id, int64_t first, int64_t count) const;  // undefined parts when any span lacks them
    std::vector<RowEdit> path_edits(ThoughtId id) const;
    // The thought that owns a position of the path and the index among its own tokens.
    struct Owner {
        ThoughtId thought;
        int64_t index;
    };
    Owner owner(ThoughtId id, int64_t position) const;
    // Tokens that two paths share as the same (thought, index), from the root.
    int64_t shared_prefix(ThoughtId a, ThoughtId b) const;

    // Of all rows and edits held, spare capacity included; memory that several tensors share counts once.
    int64_t bytes() const;
    void drop_hidden(ThoughtId id);  // keeps rows.last, made from hidden when it was not there
    void drop_kv(ThoughtId id);      // of a latent also what was decoded of it

   private:
    // The buffers behind the rows of incomplete thoughts: Thought::rows are views of their beginnings.
    // A copied graph shares the rows but not this room, so that original and copy may both append.
    struct SpareRoom {
        SpareRoom() = default;
        SpareRoom(const SpareRoom&) {}
        SpareRoom(SpareRoom&&) = default;
        SpareRoom& operator=(const SpareRoom&) { return buffers.clear(), *this; }
        SpareRoom& operator=(SpareRoom&&) = default;
        std::map<ThoughtId, StateRows> buffers;
    };

    void check_place(const Thought& thought) const;

    std::map<ThoughtId, Thought> thoughts_;
    std::map<ThoughtId, std::vector<ThoughtId>> children_;
    SpareRoom spare_;
    ThoughtId next_id_ = 1;
};

// A thought whose z is yet to be decoded before anything can be run on or behind it.
bool awaits_decoding(const Thought& thought);

// What holds for a thought by itself: sizes of stats and rows, edits in order, within its tokens and
// finite. Throws InputError naming the field.
void check_thought(const Thought& thought);

// resid_post of the last block, [tokens, d_model]: rows.last, else a view into rows.hidden, else undefined.
at::Tensor last_rows(const StateRows& rows);

}  // namespace savepoint
