// A toy model for the tests of core/state: three blocks with random weights, written as a GGUF file so
// that it runs through the real Transformer, in milliseconds.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "core/model/transformer.h"
#include "core/state/replay.h"
#include "core/state/session.h"

namespace savepoint::toy {

// A folder that is removed at the end of the test.
class Folder {
   public:
    Folder();
    ~Folder();
    Folder(const Folder&) = delete;
    Folder& operator=(const Folder&) = delete;
    std::string path(const std::string& name) const { return root_ + "/" + name; }

   private:
    std::string root_;
};

const Transformer& model();
SessionIdentity identity();
std::vector<TokenId> prompt(int64_t tokens, uint64_t seed);

// A root thought, prefilled in chunks.
ThoughtId add_prompt(ThoughtGraph& graph, LiveCache& live, const std::vector<TokenId>& tokens, int64_t chunk);
// `count` greedy tokens at the end of an incomplete thought; returns the logits after each, [count, vocab].
at::Tensor generate(ThoughtGraph& graph, LiveCache& live, ThoughtId id, int64_t count);
// An incomplete thought after the first `prefix` tokens of the parent's path.
ThoughtId add_branch(ThoughtGraph& graph, ThoughtId parent, int64_t prefix, EdgeKind edge);
// The token at `position` again, with edited rows in its hidden state and in one block's key and value.
ThoughtId add_intervention(ThoughtGraph& graph, LiveCache& live, ThoughtId parent, int64_t position);

// A prompt of 40 tokens with 24 generated, a branch, an intervention with 20 more behind it, a second
// root and a merge, in a graph whose fields all differ from their defaults.
struct Story {
    SessionContents contents;
    ThoughtId first = 0, branch = 0, edited = 0, merged = 0;
    at::Tensor first_logits, branch_logits, edited_logits;  // after each generated token
};
Story make_story();

// The tokens [from, from + count) of a path, decoded from `live` rewound to `from`: the logits before the
// first and after each, [count + 1, vocab].
at::Tensor decode_again(const ThoughtGraph& graph, LiveCache& live, ThoughtId id, int64_t from, int64_t count);

bool same_bits(const at::Tensor& a, const at::Tensor& b);  // both undefined counts as the same
// The first difference between two sessions, field by field; empty when there is none.
std::string difference(const SessionContents& a, const SessionContents& b);

}  // namespace savepoint::toy
