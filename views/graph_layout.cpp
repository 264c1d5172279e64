#include "views/graph_layout.h"

#include <algorithm>

namespace savepoint::views {
namespace {

int64_t index_of(const GraphLayout& layout, ThoughtId id) {
    const auto found = layout.index.find(id);
    return found == layout.index.end() ? -1 : found->second;
}

// Gives every subtree as many rows as it has leaves. No recursion: paths may be thousands of thoughts long.
class Rows {
   public:
    explicit Rows(GraphLayout& layout) : layout_(layout), children_(layout.nodes.size()) {
        for (size_t i = 0; i < layout.nodes.size(); ++i)
            if (layout.nodes[i].parent >= 0) children_[layout.nodes[i].parent].push_back(static_cast<int64_t>(i));
        heights_.assign(layout.nodes.size(), 1);
        // Parents come before their children (ids ascend), so one pass from the end adds up the rows of subtrees.
        for (size_t i = layout.nodes.size(); i-- > 0;) {
            int64_t sum = 0;
            for (const int64_t child : children_[i]) sum += heights_[child];
            heights_[i] = std::max<int64_t>(1, sum);
        }
    }

    void place() {
        float next_root = 0;
        for (size_t i = 0; i < layout_.nodes.size(); ++i) {
            GraphLayout::Node& node = layout_.nodes[i];
            if (node.parent < 0) {
                node.row = next_root;
                next_root += static_cast<float>(heights_[i]) + (children_[i].empty() ? 0.0f : 0.15f);
            }
            float row = node.row;
            for (const int64_t child : children_[i]) {
                layout_.nodes[child].row = row;
                row += static_cast<float>(heights_[child]);
            }
        }
        layout_.rows = next_root;
    }

   private:
    GraphLayout& layout_;
    std::vector<std::vector<int64_t>> children_;
    std::vector<int64_t> heights_;
};

}  // namespace

GraphLayout lay_out(const GraphView& graph) {
    GraphLayout layout;
    layout.nodes.resize(graph.thoughts.size());
    for (size_t i = 0; i < graph.thoughts.size(); ++i) layout.index[graph.thoughts[i].id] = static_cast<int64_t>(i);
    for (size_t i = 0; i < graph.thoughts.size(); ++i) {
        GraphLayout::Node& node = layout.nodes[i];
        node.thought = i;
        node.parent = index_of(layout, graph.thoughts[i].parent);
        node.other_parent = index_of(layout, graph.thoughts[i].other_parent);
        if (node.parent >= static_cast<int64_t>(i))
            node.parent = -1;  // never in a sound graph; keeps the passes below finite
        if (node.other_parent >= static_cast<int64_t>(i)) node.other_parent = -1;
        for (const int64_t parent : {node.parent, node.other_parent})
            if (parent >= 0) node.column = std::max(node.column, layout.nodes[parent].column + 1);
        layout.columns = std::max(layout.columns, node.column + 1);
    }
    Rows(layout).place();
    return layout;
}

}  // namespace savepoint::views
