#pragma once

#include <ATen/core/Tensor.h>

#include <cmath>
#include <memory>
#include <span>
#include <vector>

#include "core/model/transformer.h"
#include "core/sidecar/run_codec.h"

namespace savepoint {

// How far a run goes that is resumed from decoded state, with nothing to correct it.
struct LongRunSettings {
    int64_t prefix = 192, exact_first = 4;
    int64_t greedy_tokens = 64;
    int64_t rounds = 8, round_tokens = 32;  // each round: save, decode, generate
};

struct LongRunFigures {
    double greedy_agreement = NAN;  // tokens before the first that differs from the exact run's, of greedy_tokens; mean
    // By round: mean KL(exact || resumed) in nats of that round's tokens, teacher forced on what the drifting run
    // chose. `exact` has never been decoded; the state it is compared with has been as often as the round says.
    std::vector<double> drift_kl;
};

// What follows a prefix, greedily: from its exact and from its decoded state.
struct GreedyPair {
    std::vector<TokenId> exact, resumed;
    int64_t agreement() const;  // tokens before the first that differs
};

// A codec that stores keys and values, on sequences of which the first `prefix` tokens are used; a sequence a step.
class LongRuns {
   public:
    LongRuns(const Transformer& model, std::vector<std::vector<TokenId>> sequences,
             std::shared_ptr<const RunCodec> codec, LongRunSettings settings);
    bool done() const { return next_ == sequences_.size(); }
    void step();
    LongRunFigures figures() const;                                    // of the sequences so far
    const std::vector<GreedyPair>& greedy() const { return greedy_; }  // a pair for each of them

   private:
    struct Run;
    Run resumed(const StateRows& rows, TokenId last, int64_t count) const;
    StateRows decoded(const StateRows& rows, std::span<const TokenId> ids) const;
    void agree(std::span<const TokenId> prefix, const StateRows& rows);
    void drift(std::span<const TokenId> prefix, const StateRows& rows);

    const Transformer& model_;
    std::vector<std::vector<TokenId>> sequences_;
    std::shared_ptr<const RunCodec> codec_;
    LongRunSettings settings_;
    size_t next_ = 0;
    std::vector<GreedyPair> greedy_;
    std::vector<double> drift_;
};

}  // namespace savepoint
