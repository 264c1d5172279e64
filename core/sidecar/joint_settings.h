#pragma once

// Plain structs only: views include this file.

#include <cstdint>

namespace savepoint {

struct JointSettings {
    int64_t group_size = 4;           // blocks coded together
    double ratio = 16;                // times smaller than the full state in fp16
    double kl_weight = 4;             // nats of KL worth as much as hidden variance unexplained
    int64_t max_components = 0;       // of a group; 0: all that the step can see
    int64_t gradient_sequences = 24;  // of the text, for the metric; 0: hidden variance alone counts
    int64_t exact_first_tokens = 4;   // attention sinks, restored by replaying their ids

    bool operator==(const JointSettings&) const = default;
};

}  // namespace savepoint
