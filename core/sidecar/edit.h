#pragma once

// Plain structs only: views include this file.

#include <cstdint>
#include <string>

namespace savepoint {

enum class LatentPart { hidden, key, value, all };
enum class EditKind { set, zero, noise, copy, lerp, slerp };
std::string to_string(LatentPart part);
std::string to_string(EditKind kind);

// One change of z. `set` gives a component the value mean + amount * std of the reference set.
struct LatentEdit {
    EditKind kind = EditKind::set;
    LatentPart part = LatentPart::hidden;
    int64_t first_token = 0, last_token = 0;  // path positions, inclusive
    int64_t group = 0;  // layer group; key/value edits: of `block` when it is >= 0, else of all blocks of the group
    int64_t block = -1;
    int64_t component = -1;  // -1: all components (zero, noise, copy, lerp, slerp)
    double amount =
        0;  // set: standard deviations from the mean; noise: standard deviations; lerp, slerp: weight in [0, 1]
    uint64_t seed = 0;                             // noise
    int64_t source_thought = 0, source_token = 0;  // copy, lerp, slerp: the other token (B)

    bool operator==(const LatentEdit&) const = default;
};

}  // namespace savepoint
