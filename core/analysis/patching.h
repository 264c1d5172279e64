#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "core/analysis/drift_parts.h"
#include "core/analysis/patch_scores.h"
#include "core/model/transformer.h"

namespace savepoint {

// Activations of one layer at some aligned tokens.
struct PatchCell {
    PatchSite site = PatchSite::resid;
    int64_t layer = 0;
    int64_t head = -1;           // PatchSite::head
    std::vector<int64_t> pairs;  // of the alignment, ascending
};

// `end`: the token whose next-token distribution is the outcome. `edits`: the rows that interventions put into the
// run; they stay in place when the destination is run again.
struct PatchRun {
    StateRun state;
    int64_t end = 0;
    std::vector<RowEdit> edits;
};

class Patching {
   public:
    // Throws InputError when rows are missing or `end` lies outside a run.
    Patching(const Transformer& model, PatchRun source, PatchRun destination, std::vector<AlignedPair> pairs);

    const Transformer& model() const { return model_; }
    const std::vector<AlignedPair>& pairs() const { return pairs_; }
    // Pairs of which both tokens come no later than the outcome: the first so many.
    int64_t usable_pairs() const { return usable_; }
    // Next-token logits after `end` [vocab], of the saved states.
    const at::Tensor& source_logits() const { return source_logits_; }
    const at::Tensor& destination_logits() const { return destination_logits_; }
    // Next-token logits of the destination with each cell patched by itself, [cells, vocab]: one batch, run from the
    // cells' layer and their first token on. Throws InputError when the cells are not of one layer.
    at::Tensor logits(std::span<const PatchCell> cells) const;
    // False: source and destination hold the same numbers there (but for rounding, 1e-4 of the vector's norm), so that
    // patching changes nothing.
    bool differs(const PatchCell& cell) const;
    int64_t tokens_run(const PatchCell& cell) const;  // by logits() of this cell alone

   private:
    struct Activations {  // [tokens, layers, d_model], z [tokens, layers, heads, head_dim]
        at::Tensor attention, mlp, z;
    };
    Activations captured(const PatchRun& run) const;
    at::Tensor value(const Activations& of, const StateRows& rows, const PatchCell& cell, int64_t position) const;
    void check(const PatchCell& cell) const;
    void keep_edits(Hooks& hooks, int64_t layer, int64_t first, int64_t last) const;
    void put_cells(Hooks& hooks, std::span<const PatchCell> cells, int64_t first) const;

    const Transformer& model_;
    PatchRun source_, destination_;
    std::vector<AlignedPair> pairs_;
    int64_t usable_ = 0;
    Activations of_source_, of_destination_;
    at::Tensor source_logits_, destination_logits_;
};

// The first aligned token after which the two runs go on with other tokens, though both have read the same token and
// their states differ: where one difference became another. None: they never part so.
std::optional<int64_t> first_outcome(const StateRun& source, const StateRun& destination,
                                     const std::vector<AlignedPair>& pairs);

}  // namespace savepoint
