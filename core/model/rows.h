#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

namespace savepoint {

// What a forward pass leaves behind, one row per token (token-major, so that appending, slicing and
// storing tokens is contiguous). float32 on the CPU. A tensor that was not kept is undefined.
//   hidden [tokens, layers, d_model]             blocks.L.hook_resid_post
//   key    [tokens, layers, kv_heads, head_dim]  blocks.L.attn.hook_k, before rotary embedding (and, in a model that
//          has one, after the norm of each head's key)
//   value  [tokens, layers, kv_heads, head_dim]  blocks.L.attn.hook_v
//   last   [tokens, d_model]                     resid_post of the last block alone: a copy of
//          hidden[:, layers - 1], kept when `hidden` is dropped, so that the next-token distribution
//          after any saved token is Transformer::unembed(last row), bit for bit, without a model run
// Positions are derived (row i of a path is position i), never stored.
struct StateRows {
    at::Tensor hidden, key, value, last;

    int64_t tokens() const;  // 0 when nothing is held
    bool has_hidden() const { return hidden.defined(); }
    bool has_kv() const { return key.defined() && value.defined(); }
    StateRows slice(int64_t first, int64_t count) const;  // views, no copy
    int64_t bytes() const;
};

StateRows concat(const std::vector<StateRows>& parts);  // a tensor missing in one part is dropped

// The key and value that replace those of one token in one block. [kv_heads, head_dim] each.
struct KvRow {
    int64_t block = 0;
    at::Tensor key, value;  // key before rotary embedding
};

// The exact rows that an intervention puts in the place of what the model computed for ONE token.
// A forward step with a RowEdit means: in every block named in `kv`, the token's key and value are
// replaced before attention; after block `hidden_block`, hook_resid_post is replaced by `hidden`.
// Blocks above run on what they are given and make their own keys and values (DESIGN, "How an edit
// flows"). Replaying an intervention is the same forward step again with the same rows.
struct RowEdit {
    int64_t position = 0;       // path coordinates
    int64_t hidden_block = -1;  // -1: the residual stream is not replaced
    at::Tensor hidden;          // [d_model]
    std::vector<KvRow> kv;      // ascending by block

    bool empty() const { return hidden_block < 0 && kv.empty(); }
    // The first block whose input or key/value differs from the unedited run, so that a step may
    // start there from the saved state of the same token: min(first kv block, hidden_block + 1).
    int64_t first_affected_block() const;
};

}  // namespace savepoint
