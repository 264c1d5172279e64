#include <ATen/ATen.h>
#include <doctest/doctest.h>

#include "core/model/device.h"
#include "core/model/error.h"
#include "core/state/thought_graph.h"
#include "tests/core/state_toy.h"

using namespace savepoint;
using toy::same_bits;

namespace {

constexpr int64_t kLayers = 3, kDim = 8, kHeads = 2, kHeadDim = 4;
constexpr int64_t kRowBytes = (kLayers * kDim + 2 * kLayers * kHeads * kHeadDim + kDim) * 4;

// Rows whose numbers tell the token: row i of hidden is all first + i, and so on.
StateRows rows(int64_t first, int64_t count) {
    const at::Tensor number = at::arange(first, first + count, at::kFloat);
    const auto spread = [&](std::vector<int64_t> sizes, float plus) {
        std::vector<int64_t> start(sizes.size(), 1);
        start[0] = sizes[0] = count;
        return (number.reshape(start).expand(sizes) + plus).contiguous();
    };
    const at::Tensor hidden = spread({0, kLayers, kDim}, 0);
    return {hidden, spread({0, kLayers, kHeads, kHeadDim}, 0.25f), spread({0, kLayers, kHeads, kHeadDim}, 0.5f),
            hidden.select(1, kLayers - 1).clone()};
}

Thought thought(ThoughtId parent, int64_t prefix, int64_t tokens, int64_t first_row) {
    Thought t;
    t.parent = parent;
    t.prefix = prefix;
    t.edge = parent ? EdgeKind::continuation : EdgeKind::root;
    for (int64_t i = 0; i < tokens; ++i) t.tokens.push_back(static_cast<TokenId>(first_row + i));
    t.rows = rows(first_row, tokens);
    return t;
}

std::vector<float> numbers(const StateRows& r) {
    std::vector<float> result;
    for (int64_t i = 0; i < r.tokens(); ++i) result.push_back(r.hidden[i][0][0].item<float>());
    return result;
}

int64_t storage_bytes(const at::Tensor& t) { return static_cast<int64_t>(t.storage().nbytes()); }

}  // namespace

TEST_CASE("paths, owners and shared prefixes of a graph with skipped parents") {
    ThoughtGraph graph;
    const ThoughtId root = graph.add(thought(0, 0, 10, 0));
    const ThoughtId a = graph.add(thought(root, 6, 5, 100));  // 0..5 100..104
    const ThoughtId b = graph.add(thought(a, 8, 3, 200));     // 0..5 100 101 200..202
    const ThoughtId c = graph.add(thought(a, 4, 2, 300));     // 0..3 300 301: before a's own tokens
    const ThoughtId d = graph.add(thought(b, 11, 0, 0));      // no tokens of its own
    CHECK(graph.path_tokens(b) == std::vector<TokenId>{0, 1, 2, 3, 4, 5, 100, 101, 200, 201, 202});
    CHECK(graph.path_tokens(c) == std::vector<TokenId>{0, 1, 2, 3, 300, 301});
    CHECK(graph.path_tokens(d) == graph.path_tokens(b));
    CHECK(graph.path(c).size() == 2);
    CHECK(graph.path(b, 7).size() == 2);
    CHECK(graph.path_length(d) == 11);
    CHECK(graph.shared_prefix(a, b) == 8);
    CHECK(graph.shared_prefix(b, c) == 4);
    CHECK(graph.shared_prefix(d, b) == 11);
    CHECK(graph.shared_prefix(root, root) == 10);
    CHECK(graph.owner(b, 5).thought == root);
    CHECK(graph.owner(b, 7).thought == a);
    CHECK(graph.owner(b, 7).index == 1);
    CHECK(graph.owner(d, 10).thought == b);
    CHECK(graph.owner(c, 4).thought == c);
    CHECK(graph.children(a) == std::vector<ThoughtId>{b, c});
    CHECK(numbers(graph.path_rows(b, 5, 5)) == std::vector<float>{5, 100, 101, 200, 201});
    CHECK(numbers(graph.path_rows(b, 0, 0)).empty());
    CHECK_THROWS_AS(graph.path(b, 12), InputError);
    CHECK_THROWS_AS(graph.path_rows(b, 5, 7), InputError);
    CHECK_THROWS_AS(graph.owner(b, 11), InputError);
}

TEST_CASE("a thought in a wrong place, or that contradicts itself, is refused") {
    ThoughtGraph graph;
    const ThoughtId root = graph.add(thought(0, 0, 10, 0));
    const auto refuse = [&](auto change) {
        Thought t = thought(root, 5, 2, 50);
        change(t);
        CHECK_THROWS_AS(graph.add(t), InputError);
    };
    refuse([](Thought& t) { t.parent = 9; });
    refuse([](Thought& t) { t.parent = 0; });
    refuse([](Thought& t) { t.prefix = 0; });
    refuse([](Thought& t) { t.prefix = 11; });
    refuse([](Thought& t) { t.prefix = -1; });
    refuse([](Thought& t) { t.edge = EdgeKind::root; });
    refuse([](Thought& t) { t.other_parent = 1; });
    refuse([](Thought& t) { t.edge = EdgeKind::merge; });
    refuse([](Thought& t) { t.tokens.pop_back(); });
    refuse([](Thought& t) { t.tokens[0] = -1; });
    refuse([](Thought& t) { t.stats.resize(3); });
    refuse([](Thought& t) { t.prompt_tokens = 3; });
    refuse([](Thought& t) { t.edits = {{5, -1, {}, {}}}; });
    refuse([](Thought& t) { t.edits = {{4, 0, at::zeros({kDim}), {}}}; });
    refuse([](Thought& t) { t.edits = {{7, 0, at::zeros({kDim}), {}}}; });
    refuse([](Thought& t) { t.edits = {{5, 0, at::full({kDim}, NAN), {}}}; });
    refuse([](Thought& t) { t.edits = {{5, 0, at::zeros({kDim}), {}}, {5, 0, at::zeros({kDim}), {}}}; });
    refuse([](Thought& t) { t.edits = {{5, -1, {}, {{1, at::zeros({2, 4}), {}}}}}; });
    CHECK(graph.thoughts().size() == 1);
    Thought first_token = thought(root, 0, 2, 50);
    first_token.edge = EdgeKind::counterfactual;
    CHECK(graph.path_tokens(graph.add(first_token)) == std::vector<TokenId>{50, 51});
}

TEST_CASE("removing: leaves only, ids are not given again") {
    ThoughtGraph graph;
    const ThoughtId root = graph.add(thought(0, 0, 4, 0)), other = graph.add(thought(0, 0, 4, 0));
    const ThoughtId child = graph.add(thought(root, 4, 1, 9));
    Thought merge = thought(root, 4, 0, 0);
    merge.edge = EdgeKind::merge;
    merge.other_parent = other;
    const ThoughtId merged = graph.add(merge);
    CHECK_THROWS_AS(graph.remove(root), InputError);
    CHECK_THROWS_AS(graph.remove(other), InputError);
    graph.remove(merged);
    graph.remove(other);
    graph.remove(child);
    CHECK(graph.children(root).empty());
    CHECK_THROWS_AS(graph.remove(child), InputError);
    CHECK(graph.add(thought(root, 4, 1, 9)) == merged + 1);
}

TEST_CASE("appending doubles the capacity, shows narrow views, and completing gives it back") {
    ThoughtGraph graph;
    Thought start = thought(0, 0, 5, 0);
    start.complete = false;
    const ThoughtId id = graph.add(start);
    int64_t moves = 0;
    const void* before = nullptr;
    for (int64_t i = 5; i < 1000; ++i) {
        graph.append(id, static_cast<TokenId>(i), {-1.0f, 2.0f, {}}, rows(i, 1));
        const void* now = graph.at(id).rows.key.data_ptr();
        moves += now != before;
        before = now;
    }
    CHECK(moves < 12);
    const Thought& t = graph.at(id);
    CHECK(t.rows.tokens() == 1000);
    CHECK(t.stats.size() == 1000);
    CHECK(std::isnan(t.stats[4].entropy));
    const StateRows all = rows(0, 1000);
    CHECK(same_bits(t.rows.hidden, all.hidden));
    CHECK(same_bits(t.rows.key, all.key));
    CHECK(same_bits(t.rows.value, all.value));
    CHECK(same_bits(t.rows.last, all.last));
    CHECK(graph.bytes() > 1000 * kRowBytes);
    CHECK(graph.bytes() < 2100 * kRowBytes);
    graph.complete(id);
    CHECK(graph.bytes() == 1000 * kRowBytes);
    CHECK(same_bits(t.rows.value, all.value));
    CHECK_THROWS_AS(graph.append(id, 1, {}, rows(0, 1)), InputError);
}

TEST_CASE("a copied graph and its original append to the same thought without disturbing each other") {
    ThoughtGraph graph;
    Thought start = thought(0, 0, 1, 0);
    start.complete = false;
    const ThoughtId id = graph.add(start);
    graph.append(id, 1, {}, rows(1, 1));
    ThoughtGraph copy = graph;
    graph.append(id, 2, {}, rows(2, 1));
    copy.append(id, 7, {}, rows(7, 1));
    graph.append(id, 3, {}, rows(3, 1));
    CHECK(numbers(graph.at(id).rows) == std::vector<float>{0, 1, 2, 3});
    CHECK(numbers(copy.at(id).rows) == std::vector<float>{0, 1, 7});
}

TEST_CASE("a part without a row for a token is dropped from then on; a row of another shape is refused") {
    ThoughtGraph graph;
    Thought start;
    start.complete = false;
    const ThoughtId id = graph.add(start);
    graph.append(id, 0, {}, rows(0, 1));
    StateRows only_kv = rows(1, 1);
    only_kv.hidden.reset();
    graph.append(id, 1, {}, only_kv);
    CHECK_FALSE(graph.at(id).rows.has_hidden());
    CHECK(graph.at(id).rows.key.size(0) == 2);
    CHECK(graph.at(id).rows.last.size(0) == 2);
    StateRows wrong = rows(2, 1);
    wrong.key = at::zeros({1, kLayers, kHeads, 5});
    CHECK_THROWS_AS(graph.append(id, 2, {}, wrong), InputError);
    CHECK(graph.at(id).tokens.size() == 2);
    graph.append(id, 2, {}, {});
    CHECK(graph.at(id).rows.tokens() == 0);
    graph.append(id, 3, {}, rows(3, 1));
    CHECK(graph.at(id).rows.tokens() == 0);
    CHECK(graph.at(id).tokens.size() == 4);
}

TEST_CASE("dropping hidden keeps the last rows and frees the memory, a view of hidden included") {
    ThoughtGraph graph;
    Thought t = thought(0, 0, 6, 0);
    t.rows.last = t.rows.hidden.select(1, kLayers - 1);
    const at::Tensor expected = t.rows.last.clone();
    const ThoughtId id = graph.add(std::move(t));
    const int64_t before = graph.bytes();
    graph.drop_hidden(id);
    CHECK(same_bits(graph.at(id).rows.last, expected));
    CHECK(before - graph.bytes() == 6 * kLayers * kDim * 4 - 6 * kDim * 4);
    graph.drop_kv(id);
    CHECK(graph.bytes() == 6 * kDim * 4);
    CHECK_FALSE(graph.at(id).rows.has_kv());
    CHECK(graph.path_rows(id, 1, 3).last.size(0) == 3);
}

TEST_CASE("dropping parts of a thought that is still growing") {
    ThoughtGraph graph;
    Thought start;
    start.complete = false;
    const ThoughtId id = graph.add(start);
    for (int64_t i = 0; i < 9; ++i) graph.append(id, 0, {}, rows(i, 1));
    graph.drop_hidden(id);
    graph.drop_kv(id);
    for (int64_t i = 9; i < 20; ++i) graph.append(id, 0, {}, rows(i, 1));
    CHECK_FALSE(graph.at(id).rows.has_hidden());
    CHECK_FALSE(graph.at(id).rows.has_kv());
    CHECK(same_bits(graph.at(id).rows.last, rows(0, 20).last));
    CHECK(graph.bytes() == storage_bytes(graph.at(id).rows.last));
}

TEST_CASE("memory that thoughts share counts once") {
    ThoughtGraph graph;
    const StateRows shared = rows(0, 10);
    Thought a = thought(0, 0, 4, 0), b = thought(0, 0, 6, 0);
    a.rows = shared.slice(0, 4);
    b.rows = shared.slice(4, 6);
    graph.add(a);
    graph.add(b);
    CHECK(graph.bytes() == 10 * kRowBytes);
}

TEST_CASE("1,000 branches from one 500-token prompt cost almost nothing") {
    ThoughtGraph graph;
    const ThoughtId root = graph.add(thought(0, 0, 500, 0));
    const int64_t bytes = graph.bytes(), resident = resident_bytes();
    for (int i = 0; i < 1000; ++i) {
        Thought branch;
        branch.parent = root;
        branch.prefix = 1 + i % 500;
        branch.edge = EdgeKind::continuation;
        branch.complete = false;
        graph.add(std::move(branch));
    }
    CHECK(graph.bytes() == bytes);
    CHECK(sizeof(Thought) < 1024);
    CHECK(resident_bytes() - resident < 4 << 20);
    CHECK(graph.children(root).size() == 1000);
    CHECK(graph.path_tokens(1001).size() == 1 + 999 % 500);
}

TEST_CASE("names of edges") {
    for (const EdgeKind kind :
         {EdgeKind::root, EdgeKind::continuation, EdgeKind::intervention, EdgeKind::counterfactual, EdgeKind::merge})
        CHECK(edge_kind_from(to_string(kind)) == kind);
    CHECK_THROWS_AS(edge_kind_from("Root"), InputError);
}
