#pragma once

// Plain structs only: views include this file. Parts are shared between snapshots.

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "core/analysis/collapse_report.h"
#include "core/analysis/lens_map.h"
#include "core/state/edge_kind.h"
#include "core/workbench/causal_view.h"

namespace savepoint {

enum class LensStates { own, decoded };  // decoded: decode(z) of the sidecar
enum class LensKind { logit, tuned };    // a tuned lens that is not fitted yet is fitted first

struct LensRequest {
    ThoughtId thought = 0;
    LensStates states = LensStates::own;
    LensKind kind = LensKind::logit;
    int64_t first = 0, tokens = 0;         // tokens 0: up to the path's end
    TokenId target = -1, distractor = -1;  // -1: the two most likely after the last token that is read
};

// What each layer would say next, growing while it is read.
struct LensView {
    CausalState state = CausalState::running;
    double progress = 0;
    std::string stage, error;
    LensRequest request;                 // with what was chosen where -1 was asked for
    std::shared_ptr<const LensMap> map;  // null: not begun
    std::vector<std::string> text;       // of its tokens, displayable
    std::vector<ThoughtId> owner;        // of its tokens
    std::vector<std::string> top;        // [tokens, layers, kLensTop] displayable
    std::string target, distractor;
    LensFigures figures;  // of the tuned lens; empty: none is fitted
};

// What every head of one token looks at.
struct AttentionView {
    TokenRef token;
    int64_t layers = 0, heads = 0, tokens = 0;  // tokens: those up to it
    std::vector<float> weight;                  // [layers, heads, tokens]; each row sums to 1
    std::vector<std::string> text;              // of the tokens
    std::vector<ThoughtId> owner;
};

// The attention that tokens of a path have received from later ones (core/analysis/attention_mass.h), in queries: 1 is
// all that one later token pays in one head. Grows with the path.
struct AttentionMassView {
    ThoughtId thought = 0;
    int64_t layers = 0, heads = 0, tokens = 0;  // tokens: those of the path that are counted, from its first
    std::vector<float> mass;                    // [layers, heads, tokens]
    std::vector<float> mean;                    // [tokens] over layers and heads
};

// Signs of collapse, growing prompt by prompt.
struct DiagnosisView {
    CausalState state = CausalState::running;
    double progress = 0;
    std::string error;
    CollapseReport report;
    std::vector<std::string> outputs, expected;  // displayable, one a prompt
};

}  // namespace savepoint
