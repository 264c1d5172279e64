#include "core/sidecar/codec.h"

#include <algorithm>

#include "core/model/error.h"

namespace savepoint {

std::string LayerGroup::label() const {
    if (first_block == last_block) return "block " + std::to_string(first_block);
    return "blocks " + std::to_string(first_block) + "-" + std::to_string(last_block);
}

std::vector<LayerGroup> layer_groups(int64_t layers, int64_t size) {
    if (size < 1) throw InputError("group_size: " + std::to_string(size) + "; at least one block a group");
    std::vector<LayerGroup> groups;
    for (int64_t first = 0; first < layers; first += size) {
        groups.push_back({first, std::min(first + size, layers) - 1});
    }
    return groups;
}

}  // namespace savepoint
