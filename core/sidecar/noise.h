#pragma once

#include <cstdint>
#include <initializer_list>

namespace savepoint {

// A standard normal number that is a function of its keys alone (seed, token, component, ...): an edit replays to
// the same noise whatever else is edited beside it, on any machine.
double keyed_normal(std::initializer_list<uint64_t> keys);
uint64_t mixed(std::initializer_list<uint64_t> keys);

}  // namespace savepoint
