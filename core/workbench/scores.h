#pragma once

#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "core/analysis/anomaly.h"
#include "core/state/thought_graph.h"
#include "core/workbench/attended_rows.h"
#include "core/workbench/snapshot.h"

namespace savepoint {

struct Desk;

// Anomaly scores by the reference in use, kept per thought and choice, so that a branch scores only its own tokens.
// Scoring goes on from the linear-attention state after the last scored token.
class ScoreBook {
   public:
    void clear();
    void forget(ThoughtId thought);
    // Whether scores of new tokens want their queries, and where they are left.
    bool wants_queries(const Desk& desk) const;
    void take_query(ThoughtId thought, int64_t position, at::Tensor query);
    // Scores at most `tokens` more tokens of the path (or brings a state up to where they begin), and
    // writes the token percentiles into the graph. False when the whole path is scored.
    bool advance(Desk& desk, ThoughtId thought, int64_t tokens);
    int64_t scored(const Desk& desk, ThoughtId thought) const;  // tokens from the root
    std::shared_ptr<const AnomalyView> view(const Desk& desk, ThoughtId thought) const;
    // After a change of the choice: the graph's percentiles become the new one's, where they are known.
    void write_all(Desk& desk) const;

   private:
    struct Run {
        FormStream stream;  // after the prefix and the first `scored` own tokens
        int64_t scored = 0;
        std::vector<int64_t> masked;                                             // [own tokens]
        std::vector<float> percentile, distance, token_percentile, token_score;  // as in AnomalyView
    };
    using Key = std::pair<ThoughtId, std::string>;  // AnomalyReference::name()

    const Run* find(ThoughtId thought, const AnomalyReference& reference) const;
    bool reach_prefix(Desk& desk, const Thought& thought, Run& run, const AnomalyReference& reference);
    void score(Desk& desk, const Thought& thought, Run& run, const AnomalyReference& reference, int64_t count);

    std::map<Key, Run> runs_;
    FreshQueries queries_;
};

}  // namespace savepoint
