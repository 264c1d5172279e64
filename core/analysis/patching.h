#pragma once

#include <ATen/core/Tensor.h>

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "core/analysis/alignment.h"
#include "core/analysis/drift_parts.h"
#include "core/model/transformer.h"

namespace savepoint {

// Activation patching (Meng et al. 2022, arXiv 2202.05262; Zhang & Nanda 2023, arXiv 2309.16042): what the destination
// run would say next if, at one place of it, it had computed what the source run did. resid: blocks.L.hook_resid_post;
// attention: hook_attn_out; mlp: hook_mlp_out; head: attn.hook_z of one query head.
enum class PatchSite { resid, attention, mlp, head };
inline constexpr std::array kPatchSites = {PatchSite::resid, PatchSite::attention, PatchSite::mlp, PatchSite::head};
std::string to_string(PatchSite site);               // "resid", "attention", "mlp", "head"
PatchSite patch_site_from(const std::string& name);  // throws InputError

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

}  // namespace savepoint
