#pragma once

// Plain types only: views include this file.

#include <cstdint>
#include <string>

namespace savepoint {

using ThoughtId = int64_t;  // 1, 2, ...; 0 is no thought

enum class EdgeKind { root, continuation, intervention, counterfactual, merge };
std::string to_string(EdgeKind kind);
EdgeKind edge_kind_from(const std::string& name);  // throws InputError

}  // namespace savepoint
