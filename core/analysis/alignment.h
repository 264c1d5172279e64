#pragma once

// Standard types only.

#include <cstdint>
#include <span>
#include <vector>

#include "core/model/sampler_settings.h"

namespace savepoint {

// A token of one run and the token of another run that it is compared with.
struct AlignedPair {
    int64_t a = 0, b = 0;  // positions
    bool same = true;      // false: other tokens, that stand in the same place between two that are the same
    bool operator==(const AlignedPair&) const = default;
};

struct Alignment {
    std::vector<AlignedPair> pairs;  // ascending in both
    int64_t shared = 0;              // the first so many tokens are the same in both
};

// What is shown beside every use of it.
inline constexpr const char* kAlignmentRule =
    "by position up to the first token that differs, after that by the longest common subsequence of token ids; "
    "between "
    "two matches, as many other tokens on both sides are compared one by one and marked";

// Pairs of two runs, by that rule. Of several longest common subsequences (Wagner & Fischer 1974) one that begins as
// early as it can in `b` is taken, and a common ending always belongs to it. O(n m) time, two bytes for each of n x m,
// of what is neither common beginning nor ending. Throws InputError on a run of more than 65,535 tokens.
Alignment align(std::span<const TokenId> a, std::span<const TokenId> b);

}  // namespace savepoint
