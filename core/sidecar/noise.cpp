#include "core/sidecar/noise.h"

#include <cmath>
#include <numbers>

namespace savepoint {

namespace {

// splitmix64 (Steele, Lea & Flood 2014, "Fast splittable pseudorandom number generators").
uint64_t scrambled(uint64_t x) {
    x += 0x9E3779B97F4A7C15u;
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9u;
    x = (x ^ (x >> 27)) * 0x94D049BB133111EBu;
    return x ^ (x >> 31);
}

double unit(uint64_t bits) { return (static_cast<double>(bits >> 11) + 0.5) * 0x1p-53; }  // in (0, 1)

}  // namespace

uint64_t mixed(std::initializer_list<uint64_t> keys) {
    uint64_t state = 0;
    for (const uint64_t key : keys) state = scrambled(state ^ scrambled(key));
    return state;
}

double keyed_normal(std::initializer_list<uint64_t> keys) {
    const uint64_t state = mixed(keys);
    const double radius = std::sqrt(-2 * std::log(unit(scrambled(state))));
    return radius * std::cos(2 * std::numbers::pi * unit(scrambled(state + 1)));
}

}  // namespace savepoint
