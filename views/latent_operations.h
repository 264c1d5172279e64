#pragma once

#include "views/frame.h"
#include "views/latent_edits.h"

namespace savepoint::views {

// The latent editor's popover: operations on all components of a part at once, over a range of tokens.
// B is the other token that values are copied from or mixed with; it stays chosen while the selection moves.
class LatentOperations {
   public:
    // Opens from a button of its own; true when the list of edits changed.
    bool draw(Frame& frame, const EditScope& scope);

    // The range of tokens that edits apply to; follows the selected token until it is widened.
    void follow(TokenRef selected);
    int64_t first_token() const { return first_; }
    int64_t last_token() const { return last_; }

    void mark_as_b(TokenRef token);
    TokenRef b() const { return b_; }

   private:
    bool draw_popover(Frame& frame, const EditScope& scope);
    bool draw_range(Frame& frame);
    void draw_scope(const Frame& frame, const EditScope& scope);
    bool draw_zero_and_noise(Frame& frame, const EditScope& scope);
    void draw_b_picker(Frame& frame);
    bool draw_copy_and_mix(Frame& frame, const EditScope& scope);
    bool add(Frame& frame, const EditScope& scope, LatentEdit edit) const;

    int reach_ = 0;  // 0: the part shown; 1: all parts of the group; 2: the part shown in every group
    int64_t first_ = 0, last_ = 0;
    TokenRef followed_, b_;
    float noise_ = 0.5f, weight_ = 0.5f;
    int seed_ = 1;
    int mix_ = 0;  // 0: linear, 1: spherical
};

}  // namespace savepoint::views
