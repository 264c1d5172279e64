#pragma once

// Plain structs only: views include this file.

#include <cstdint>

namespace savepoint {

struct PcaSettings {
    int64_t group_size = 4;           // blocks coded together (hidden)
    int64_t hidden_components = 512;  // per group; 0: full rank
    int64_t key_components = 0;       // per block; 0: full rank
    int64_t value_components = 0;
    int bits = 8;                    // per component; 0: float32, not quantised
    int64_t exact_first_tokens = 4;  // attention sinks, kept exact beside z (counted in the account)
    int64_t hidden_stride =
        2;  // every n-th token enters the hidden moments: neighbours say much the same, at n times the cost

    bool operator==(const PcaSettings&) const = default;
};

}  // namespace savepoint
