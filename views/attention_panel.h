#pragma once

#include <vector>

#include "views/chart.h"
#include "views/frame.h"

namespace savepoint::views {

// What the heads of the selected token look at: a small picture of every head, or one head token by token.
class AttentionPanel : public Panel {
   public:
    const char* title() const override { return "Attention"; }
    const char* help() const override {
        return "Which earlier tokens each head of the selected token reads from: all layers and heads as small "
               "pictures, "
               "and one of them in full.";
    }
    void draw(Frame& frame) override;

   private:
    void ask(Frame& frame);
    void draw_multiples(const AttentionView& view, ImVec2 size);
    void draw_head(Frame& frame, const AttentionView& view, ImVec2 size);
    const float* weights(const AttentionView& view, int64_t layer, int64_t head) const;

    int64_t layer_ = 0, head_ = 0;
    bool without_first_ = true;
    TokenRef asked_{0, -1};
};

}  // namespace savepoint::views
