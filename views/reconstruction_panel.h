#pragma once

#include "views/chart.h"
#include "views/frame.h"

namespace savepoint::views {

// What the sidecar loses and what it saves: errors by layer, errors of keys and values by head, every stored
// byte, and how well generation goes on from decoded states.
class ReconstructionPanel : public Panel {
   public:
    const char* title() const override { return "Reconstruction"; }
    const char* help() const override {
        return "How well latents decode back to states, and what a path costs to keep in bytes, against keeping "
               "everything "
               "and against keeping only the token ids.";
    }
    void draw(Frame& frame) override;

   private:
    bool draw_missing(Frame& frame) const;
    void draw_errors(const ReconstructionView& view, float chart);
    void draw_layer_chart(const ReconstructionView& view, float height) const;
    void draw_head_maps(const ReconstructionView& view) const;
    void draw_bytes(const ReconstructionView& view) const;
    void draw_byte_bar(const ReconstructionView& view) const;
    void draw_byte_table(const ReconstructionView& view) const;
    void draw_resume(Frame& frame, const ReconstructionView& view) const;

    int measure_ = 0;  // 0: FVU; 1: MSE
};

}  // namespace savepoint::views
