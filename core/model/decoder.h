#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "core/model/gemv.h"
#include "core/model/kernels.h"
#include "core/model/rotary.h"
#include "core/model/thread_team.h"
#include "core/model/weights.h"

namespace savepoint {

// One token through the model. All pointers are to float32 on the CPU; the caller owns everything.
struct DecodeStep {
    int64_t position = 0;
    int64_t first_block = 0;       // blocks before it are not run: their cache rows are already in place
    const float* resid = nullptr;  // [d_model] what the first block reads
    // What each block leaves: [layers, d_model], [layers, kv_dim] (hook_k: before rotary embedding), [layers, kv_dim].
    float *hidden = nullptr, *key = nullptr, *value = nullptr;
    float* query = nullptr;  // [layers, q_dim] hook_q: before rotary embedding, as the key; or null
    // The cache of each block, [kv_heads, capacity, head_dim]; the row at `position` is written.
    std::vector<float*> cache_keys, cache_values;
    int64_t capacity = 0;
    // Rows that replace the computed ones: per block (empty: none), [kv_dim]; null where not replaced.
    std::vector<const float*> edit_keys, edit_values;
    int64_t hidden_block = -1;
    const float* edit_hidden = nullptr;
    float* logits = nullptr;  // [vocab], or null
};

// The decode step of a gated, RMS-normed model on kernels of our own, with what Gemma 3 adds (head norms, norms behind
// attention and MLP, sliding windows). Each output row is computed by one
// thread in one order, and attention is cut in chunks of attention_chunk tokens and summed chunk by chunk:
// results depend neither on timing nor on the number of threads.
class Decoder {
   public:
    Decoder(std::shared_ptr<const Weights> weights, Rotary& rotary, int threads,
            const Kernels& kernels = best_kernels());

    static bool supports(const ModelConfig& config);
    void step(const DecodeStep& step);
    // Final norm and head of `count` rows of resid_post [count, d_model] -> logits [count, vocab].
    void head(const float* resid, int64_t count, float* logits);

   private:
    struct Block {
        const float *attn_norm, *mlp_norm;
        const float *q_norm, *k_norm, *attn_post_norm, *mlp_post_norm;  // null where there is none
        GemvMatrix q, k, v, o, gate, up, down;
    };
    struct Scratch {  // of one thread
        std::vector<float> vector, scaled, sums, rotated, middle;
    };
    // The tokens that a step attends to in a block, in chunks that begin where attention_chunk divides the position.
    struct Sight {
        int64_t first, first_chunk, chunks;
    };

    void work(const DecodeStep& step, int thread);
    void run_block(const DecodeStep& step, int64_t layer, const float* resid, int thread);
    void project(const DecodeStep& step, int64_t layer, const float* resid, int thread);
    Sight sight(const DecodeStep& step, int64_t layer) const;
    void attention(const DecodeStep& step, int64_t layer, int thread);
    const float* head_query(int64_t layer, int64_t head, int thread);
    void rotate_query(const DecodeStep& step, int64_t layer, int64_t head, int thread);
    void place_row(const DecodeStep& step, int64_t layer, int64_t kv_head);
    void keep_queries(const DecodeStep& step, int64_t layer, int64_t kv_head, int thread);
    void mix_heads(const DecodeStep& step, int64_t layer, int thread);
    void mlp_in(int64_t layer, const float* resid, int thread);
    void mlp_out(const DecodeStep& step, int64_t layer, int thread);
    void head_rows(const float* resid, int64_t count, float* logits, int thread);

    struct Share {
        int64_t first, last;
    };
    Share share(int64_t count, int thread) const;
    Share multiply(const GemvMatrix& matrix, const PreparedVector& x, float* y, int thread) const;
    void multiply_groups(const GemvMatrix& matrix, const PreparedVector& x, float* y, Share groups) const;
    PreparedVector normed(const float* x, const float* weight, int thread);
    const float* post_normed(const float* x, const float* weight, int thread);
    PreparedVector prepared(const float* x, int64_t n, int thread);

    std::shared_ptr<const Weights> weights_;
    const ModelConfig& config_;
    Rotary& rotary_;
    const Kernels& kernels_;
    std::vector<Block> blocks_;
    const float* final_norm_;
    GemvMatrix head_;
    std::vector<float> query_, attn_out_, gate_, up_, mlp_out_, partials_;
    std::vector<Scratch> scratch_;
    ThreadTeam team_;  // last: its threads stop before what they use goes
};

}  // namespace savepoint
