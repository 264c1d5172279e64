#pragma once

#include <ATen/core/Tensor.h>

#include <functional>
#include <memory>
#include <span>
#include <string>

#include "core/model/hooks.h"
#include "core/model/kv_cache.h"
#include "core/model/rows.h"
#include "core/model/tokenizer.h"
#include "core/model/weights.h"

namespace savepoint {

enum class Logits { none, last, all };

struct ForwardOptions {
    Logits logits = Logits::last;
    bool capture = true;            // fill ForwardOutput::rows
    bool queries = false;           // fill ForwardOutput::query, in prefill(), prefill_chunked() and decode()
    const Hooks* hooks = nullptr;   // named activations, read or replaced (the libtorch path runs then)
    const RowEdit* edit = nullptr;  // for decode(): rows that replace the computed ones of this token
};

struct ForwardOutput {
    at::Tensor logits;  // [1 or tokens, vocab] float32 on the CPU; undefined for Logits::none
    StateRows rows;     // of the tokens just run (CPU)
    at::Tensor query;   // their blocks.L.attn.hook_q (before rotary): [tokens, layers, heads, head_dim] float32 (CPU)
};

// The frozen model T_main: one decoder described by a ModelConfig, float32. On the CPU a decode step
// of one token runs on kernels of our own; prefill, batches, hooks and other devices run through
// libtorch. Both paths agree within 1e-3 in the logits; each is bit for bit repeatable for the same
// shape (chunk, batch, threads). Not thread-safe: one thread uses a Transformer and its caches.
class Transformer {
   public:
    explicit Transformer(std::shared_ptr<const Weights> weights, c10::Device device = c10::kCPU);
    ~Transformer();

    const ModelConfig& config() const;
    const Weights& weights() const;
    std::shared_ptr<const Weights> shared_weights() const;
    c10::Device device() const;
    std::string precision() const;  // for people: "float32 (weights streamed as Q4_1)"

    KvCache make_cache(int64_t capacity) const;

    // Appends `tokens` to the cache in one forward pass, at positions cache.length()...
    // Throws InputError when the context would overflow or an id is out of range.
    ForwardOutput prefill(KvCache& cache, std::span<const TokenId> tokens, const ForwardOptions& options = {}) const;
    // The same in chunks of at most `chunk` tokens; rows of all; logits as asked.
    // `keep_going` is asked between chunks; false throws Cancelled (the cache is truncated back).
    ForwardOutput prefill_chunked(KvCache& cache, std::span<const TokenId> tokens, int64_t chunk,
                                  const ForwardOptions& options = {},
                                  const std::function<bool(int64_t done)>& keep_going = {}) const;
    // Appends one token. With options.edit its rows are replaced as RowEdit says.
    ForwardOutput decode(KvCache& cache, TokenId token, const ForwardOptions& options = {}) const;
    // The same step for the token whose unedited state is known: starts at the edit's first affected
    // block from `saved` (one row: hidden, key, value), so that an edit high in the model costs little.
    // Equal to decode() with the same edit, bit for bit when `saved` came from decode().
    // first_block == layers runs the head alone.
    ForwardOutput decode_from_saved(KvCache& cache, TokenId token, const StateRows& saved, const RowEdit& edit,
                                    const ForwardOptions& options = {}) const;
    // One step of a batch of branches: token i goes to row i of a cache made by KvCache::repeat.
    // logits [batch, vocab]; rows are not captured.
    ForwardOutput decode_batch(KvCache& cache, std::span<const TokenId> tokens,
                               const ForwardOptions& options = {}) const;
    // Whole sequences of equal length at once, no cache: ids [batch][tokens]. rows are token-major over
    // the flattened batch (batch * tokens rows). For fitting on text.
    ForwardOutput forward_batch(const std::vector<std::vector<TokenId>>& sequences,
                                const ForwardOptions& options) const;

    // Next-token logits of whole sequences that go on from saved rows, a batch at once and without a cache:
    // key, value [batch, past, layers, kv_heads, head_dim] (key before rotary), tokens [batch][n] -> [batch, n, vocab]
    // on the model's device. Differentiable: where gradients are enabled they flow into key and value; with
    // `checkpointing` by running each block again in the backward pass, for the memory of one.
    at::Tensor logits_after(const at::Tensor& key, const at::Tensor& value,
                            const std::vector<std::vector<TokenId>>& tokens, bool checkpointing = false) const;

    // What block 0 reads, scaled where the model scales it: [tokens, d_model].
    at::Tensor embed(std::span<const TokenId> tokens) const;
    // The blocks from `first_block` on, on what that block reads, resid [batch, tokens, d_model]: tokens that follow
    // the saved ones of `past` (key before rotary, value; the same for all of the batch; no rows: none). Hooks see it
    // as in any pass; nothing is cached or kept. -> resid_post of the last block, [batch, tokens, d_model].
    at::Tensor run_blocks(const at::Tensor& resid, int64_t first_block, const StateRows& past,
                          const Hooks* hooks = nullptr) const;

    // Puts saved rows (key before rotary, value) back at the end of the cache: a bit for bit restore.
    void restore(KvCache& cache, const StateRows& rows) const;

    // blocks.L.attn.hook_q (before rotary) of tokens whose hidden rows are known: [tokens, layers, heads, head_dim].
    // What ForwardOptions::queries gives for less, where the tokens are being run anyway.
    at::Tensor queries(const StateRows& rows, std::span<const TokenId> tokens) const;
    // Rotary embedding of [tokens, layers, any heads, head_dim] (all of the model's layers) at positions
    // first_position...
    at::Tensor rotate(const at::Tensor& rows, int64_t first_position) const;
    // One row at a time through the same code as the logits of prefill() and decode(): for a captured
    // row, unembed(row) equals the logits of its forward pass bit for bit.
    // Final norm and head on resid_post of the last block [.., d_model] -> [.., vocab] (logit lens too).
    at::Tensor unembed(const at::Tensor& resid) const;

   private:
    void restore_blocks(KvCache& cache, const StateRows& rows, int64_t blocks) const;

    struct Impl;
    std::unique_ptr<Impl> impl_;
};

}  // namespace savepoint
