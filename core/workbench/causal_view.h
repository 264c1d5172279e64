#pragma once

// Plain structs only: views include this file. Parts are shared between snapshots.

#include <cmath>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "core/analysis/drift_map.h"
#include "core/analysis/patch_scores.h"
#include "core/state/edge_kind.h"

namespace savepoint {

enum class CausalState { running, done, cancelled, failed };

// Two paths side by side.
struct RunPairView {
    ThoughtId a = 0, b = 0;
    int64_t tokens_a = 0, tokens_b = 0;
    int64_t shared = 0;  // the first so many tokens are the same
    std::vector<AlignedPair> pairs;
    std::vector<std::string> text_a, text_b;  // of each pair's tokens, displayable
    std::vector<ThoughtId> owner_a, owner_b;  // of each pair's tokens
};

// How far apart two runs are, growing part by part.
struct DriftView {
    CausalState state = CausalState::running;
    double progress = 0;
    std::string stage, error;
    DriftSettings settings;
    std::shared_ptr<const RunPairView> runs;            // never null
    std::vector<std::shared_ptr<const DriftMap>> maps;  // finished ones
    std::vector<std::string> groups;                    // names of the rows of the latents' map
    int64_t unrelated_runs = 0, unrelated_length = 0;   // what distances are measured against; 0: not known yet
};

struct PatchRequest {
    ThoughtId source = 0, destination = 0;
    // The token whose next-token distribution is the outcome; -1: the first one after which the runs part
    // (first_outcome), else the last aligned one.
    int64_t source_end = -1, destination_end = -1;
    TokenId target = -1, distractor = -1;  // -1: what the runs go on with there, else default_target
    PatchSettings settings;
};

// What patching each cell of the destination from the source does to the outcome, growing while it runs.
struct PatchView {
    CausalState state = CausalState::running;
    double progress = 0;
    std::string stage, error;
    PatchRequest request;                     // with what was chosen where -1 was asked for
    std::shared_ptr<const RunPairView> runs;  // a: the source; never null
    int64_t usable_pairs = 0;                 // columns of token maps: these pairs come no later than the outcome
    std::string target, distractor;           // displayable
    PatchScore source, destination;           // the runs' own outcomes
    std::vector<PatchScores> maps;            // NaN: not run yet
    int64_t cells_run = 0;
    double seconds = 0;
};

// How much of the way from the destination's outcome to the source's a score is: 0 none, 1 all of it. NaN where the two
// do not differ.
float recovered(const PatchView& view, float logit_difference);

}  // namespace savepoint
