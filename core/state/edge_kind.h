#pragma once

// Plain types only: views include this file.

#include <cstdint>
#include <string>

namespace savepoint {

using ThoughtId = int64_t;  // 1, 2, ...; 0 is no thought

// A token of a path: position in path coordinates (0 is the first token of the root).
struct TokenRef {
    ThoughtId thought = 0;
    int64_t position = -1;
    bool operator==(const TokenRef&) const = default;
};

// decoded: a path of its own whose state is what a codec makes of its z (StoredLatent).
enum class EdgeKind { root, continuation, intervention, counterfactual, merge, decoded };
std::string to_string(EdgeKind kind);
EdgeKind edge_kind_from(const std::string& name);  // throws InputError

}  // namespace savepoint
