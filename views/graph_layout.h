#pragma once

#include <cstdint>
#include <unordered_map>
#include <vector>

#include "core/workbench/snapshot.h"

namespace savepoint::views {

// Where the thoughts go: depth to the right, siblings below each other. A first child stays on its parent's row, so
// that the oldest line of every thought runs straight. Coordinates are in columns and rows; each root has rows of its
// own.
struct GraphLayout {
    struct Node {
        size_t thought = 0;                      // index in GraphView::thoughts
        int64_t parent = -1, other_parent = -1;  // index of a node
        float column = 0, row = 0;
    };
    std::vector<Node> nodes;  // same order as the thoughts
    std::unordered_map<ThoughtId, int64_t> index;
    float columns = 0, rows = 0;
};

GraphLayout lay_out(const GraphView& graph);

}  // namespace savepoint::views
