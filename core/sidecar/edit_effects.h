#pragma once

#include <ATen/core/Tensor.h>

#include <memory>
#include <vector>

#include "core/model/transformer.h"
#include "core/sidecar/edit.h"
#include "core/sidecar/sidecar.h"

namespace savepoint {

struct EditEffectSettings {
    double move = 2;  // standard deviations of the reference set; up at every other token, down at the rest
    int64_t control_tokens = 256;  // at which the control alone is measured
    int64_t edited_tokens = 12;    // at which every component is moved, one at a time
    int64_t most_past = 128;       // tokens before the one that is decoded
};

// Of one slot of z: the hidden part of a layer group, or the keys or the values of a block. In nats of the next-token
// distribution, with one token decoded and the model run on from there.
struct SlotEffect {
    LatentPart part;
    int64_t group, block;         // block -1: hidden
    double control_p95;           // 95th percentile over the control tokens of KL(exact || control)
    double control_within;        // fraction of the edited tokens whose own control is at most that
    std::vector<double> effects;  // of each component: mean over the edited tokens of KL(control || edited)
    int64_t above() const;        // components whose effect is larger than control_p95
};

// Which components of z change what comes next by more than the codec's own error does? The control decodes the slot
// without an edit (of a block: keys and values), as the latent editor's does. Of the held-out sequences the first half
// is for the controls, the second for the edits.
class EditEffects {
   public:
    // Throws InputError for another model's sidecar, fewer than two sequences, or one that ends within the exact first
    // tokens.
    EditEffects(const Transformer& model, std::shared_ptr<const Sidecar> sidecar,
                std::vector<std::vector<TokenId>> sequences, EditEffectSettings settings);
    bool done() const { return next_ == places_.size(); }
    double progress() const;                  // in [0, 1], by work
    void step();                              // one token
    std::vector<SlotEffect> effects() const;  // of the tokens so far: hidden by group, then keys, then values by block

   private:
    struct Place {
        size_t sequence;
        int64_t position;
        bool edited;
    };
    struct Slot {
        LatentPart part;
        int64_t group, block;
        std::vector<double> control, control_of_edited;  // KL(exact || control) by token
        at::Tensor sum;                                  // [components] float64, of KL(control || edited)
    };
    void choose_places(size_t first, size_t end, int64_t tokens, bool edited);
    void open(size_t sequence);
    at::Tensor decoded(const Slot& slot, const Place& place, const Latent& z);
    void move_each(Slot& slot, const Place& place, const Latent& z, const at::Tensor& control);
    at::Tensor deviation(const Slot& slot) const;
    at::Tensor logits(const Slot& slot, const Place& place, const Latent& z) const;

    const Transformer& model_;
    std::shared_ptr<const Sidecar> sidecar_;
    std::vector<std::vector<TokenId>> sequences_;
    EditEffectSettings settings_;
    std::vector<Place> places_;
    std::vector<Slot> slots_;
    size_t next_ = 0;
    int64_t edited_ = 0;
    size_t opened_ = SIZE_MAX;
    StateRows rows_;  // of the open sequence
    KvCache cache_;
};

}  // namespace savepoint
