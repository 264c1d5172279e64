#pragma once

// Plain types only: views include this file.

#include <cstdint>
#include <string>
#include <vector>

namespace savepoint {

// Which entries of a cache a linear-attention state is summed over at token t, and with what weight:
//   none           all of them, weight 1
//   window         the last `count` tokens, t among them
//   heavy          t and the `count` - 1 earlier tokens that have received most attention by then, per layer and KV
//   head
//                  (the heavy hitters of Zhang et al. 2023, arXiv 2306.14048, without their window of recent tokens)
//   mass_weighted  all, each weighted by the attention it has received by then (attention_mass.h), summed over the
//   query
//                  heads of its KV head; t itself, which nothing later has read yet, with weight 1
enum class PruningKind { none, window, heavy, mass_weighted };
inline constexpr int64_t kLargestPruning = 1 << 20;

struct Pruning {
    PruningKind kind = PruningKind::none;
    int64_t count = 64;  // of window and heavy
    bool operator==(const Pruning&) const = default;
};
std::string to_string(const Pruning& pruning);  // "none", "window:64", "heavy:64", "mass-weighted"
Pruning pruning_from(const std::string& name);  // throws InputError

}  // namespace savepoint
