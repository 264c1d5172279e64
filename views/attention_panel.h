#pragma once

#include <memory>
#include <string>
#include <vector>

#include "views/chart.h"
#include "views/frame.h"

namespace savepoint::views {

// What the heads of the selected token look at, or what all tokens have received from later ones: a small picture of
// every head, and below it one head (or the mean of all) token by token.
class AttentionPanel : public Panel {
   public:
    const char* title() const override { return "Attention"; }
    const char* help() const override {
        return "Which earlier tokens each head of the selected token reads from, or how much attention each token has "
               "received from later ones: all layers and heads as small pictures, and one of them in full.";
    }
    void draw(Frame& frame) override;
    std::vector<std::pair<std::string, std::function<void(Frame&)>>> actions() override;

   private:
    // What is drawn in either mode.
    struct Shown {
        int64_t layers = 0, heads = 0, tokens = 0;
        const float* value = nullptr;  // [layers, heads, tokens]
        const float* row = nullptr;    // [tokens], drawn in full
        std::string row_name;
        std::vector<std::string> text;  // of the tokens
        std::vector<ThoughtId> owner;
        float most = 1;         // of the small pictures' colours
        bool fraction = false;  // shown as per cent, else in queries

        const float* of(int64_t layer, int64_t head) const { return value + (layer * heads + head) * tokens; }
        std::string shown(float v) const;
        std::string name(int64_t token) const;
    };

    void ask(Frame& frame);
    bool look_at(Frame& frame, Shown& shown);  // false: nothing to show, and the panel says why
    bool add_up(Frame& frame, Shown& shown);   // the same of what was received
    void take(const AttentionMassView& view);  // into values_ and mean_
    void draw_controls(Frame& frame);
    void draw_multiples(const Shown& shown, ImVec2 size);
    void draw_row(Frame& frame, const Shown& shown, ImVec2 size);
    int64_t first(const Shown& shown) const { return without_first_ && shown.tokens > 1 ? 1 : 0; }

    int mode_ = 0;  // 0: what the selected token looks at; 1: what tokens received
    int64_t layer_ = 0, head_ = 0;
    bool without_first_ = true;
    bool all_heads_ = true, per_later_ = false;  // of what was received
    TokenRef asked_{0, -1};
    // What was received, as it is shown; made anew when the view or per_later_ change.
    std::shared_ptr<const AttentionMassView> taken_;
    bool taken_per_later_ = false;
    std::vector<float> values_, mean_;
};

}  // namespace savepoint::views
