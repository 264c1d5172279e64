#pragma once

#include <map>
#include <utility>

#include "views/frame.h"
#include "views/latent_operations.h"
#include "views/latent_sliders.h"

namespace savepoint::views {

// The selected token's latent as sliders; what an edit would do to the next token; the branch from it.
// Pending edits stay with their token: selecting another shows that one's, and they are there on coming back.
class LatentEditorPanel : public Panel {
   public:
    const char* title() const override { return "Latent editor"; }
    const char* help() const override {
        return "Change the selected token's latent, see at once what it does to the next token, and resume from there "
               "as a "
               "branch beside the original.";
    }
    void draw(Frame& frame) override;

   private:
    bool draw_missing(Frame& frame) const;  // true: something is missing, and said so
    void draw_no_token(Frame& frame) const;
    void follow_selection(Frame& frame);
    void follow_focus(Frame& frame);
    void draw_header(Frame& frame);
    void draw_group_picker(Frame& frame, float room);
    void draw_part_picker(Frame& frame);
    void draw_chips(Frame& frame);
    void draw_body(Frame& frame, float height);
    void draw_sliders(Frame& frame);
    void draw_footer(Frame& frame);
    void changed(Frame& frame);
    void resume(Frame& frame);
    EditScope scope() const;

    LatentSliders sliders_;
    LatentOperations operations_;
    int group_ = 0, part_ = 0;  // part: 0 hidden, 1 keys, 2 values
    int64_t block_ = 0;
    bool branch_on_release_ = false;
    float split_ = 0.52f;  // the sliders' share of the body
    TokenRef at_;
    int64_t session_ = -1;
    std::map<std::pair<ThoughtId, int64_t>, std::vector<LatentEdit>> stash_;
};

}  // namespace savepoint::views
