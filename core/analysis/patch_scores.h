#pragma once

// Standard types only: views include this file.

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "core/model/sampler_settings.h"

namespace savepoint {

// Activation patching (Meng et al. 2022, arXiv 2202.05262; Zhang & Nanda 2023, arXiv 2309.16042): what the destination
// run would say next if, at one place of it, it had computed what the source run did. resid: blocks.L.hook_resid_post;
// attention: hook_attn_out; mlp: hook_mlp_out; head: attn.hook_z of one query head.
enum class PatchSite { resid, attention, mlp, head };
inline constexpr std::array kPatchSites = {PatchSite::resid, PatchSite::attention, PatchSite::mlp, PatchSite::head};
std::string to_string(PatchSite site);               // "resid", "attention", "mlp", "head"
PatchSite patch_site_from(const std::string& name);  // throws InputError

// The two tokens whose logits tell the outcomes apart.
struct PatchTarget {
    TokenId target = 0, distractor = 0;
};
struct PatchScore {
    float logit_difference = 0;  // logit(target) - logit(distractor)
    float kl = 0;                // KL(source || this), nats: 0 once the source's outcome is restored
};
// Scores [rows, columns]. resid, attention, mlp: layers by aligned tokens. head: layers by query heads; with a
// head_layer the query heads of that layer by aligned tokens. NaN: not run yet.
struct PatchScores {
    PatchSite site = PatchSite::resid;
    int64_t head_layer = -1;
    int64_t rows = 0, columns = 0;
    bool of_pairs() const { return site != PatchSite::head || head_layer >= 0; }  // columns are aligned tokens
    std::vector<float> logit_difference, kl;
};

struct PatchSettings {
    std::vector<PatchSite> sites{PatchSite::resid, PatchSite::attention, PatchSite::mlp, PatchSite::head};
    int64_t first_pair = 0;      // of token maps: earlier pairs are left out
    int64_t head_pair = -1;      // heads of all layers are patched at this pair alone; -1: at all of them at once
    int64_t head_layer = -1;     // the heads of this layer token by token too, a map of its own; -1: of none
    int64_t rows_at_once = 256;  // tokens of a batch, all of its cells together: bounds a step
};

}  // namespace savepoint
