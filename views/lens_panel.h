#pragma once

#include <string>
#include <vector>

#include "views/layer_map.h"
#include "views/run_pair.h"

namespace savepoint::views {

// What each layer would say next, token by token: the word itself where there is room, how sure or how far from the
// model's own it is as colour, and for one token how the choice between two words forms from layer to layer.
class LensPanel : public Panel {
   public:
    const char* title() const override { return "Logit lens"; }
    const char* help() const override {
        return "What the model would say next if it stopped at a layer: by layer and token, through the logit lens or "
               "a "
               "tuned lens, on the model's own states or on decoded ones.";
    }
    void draw(Frame& frame) override;
    std::vector<std::pair<std::string, std::function<void(Frame&)>>> actions() override;

   private:
    void draw_request(Frame& frame);
    void draw_figures(const LensView& view) const;
    void draw_map(Frame& frame, const LensView& view, ImVec2 size);
    void draw_tooltip(const LensView& view, int64_t token, int64_t layer) const;
    void draw_difference(const LensView& view, int64_t token, ImVec2 size) const;
    void draw_words(const LensView& view, int64_t token, ImVec2 size) const;
    void read(Frame& frame) const;
    float value(const LensMap& map, int64_t token, int64_t layer) const;
    ImU32 colour(float value) const;
    int64_t shown_token(const Frame& frame, const LensView& view) const;

    int states_ = 0, kind_ = 0, measure_ = 0;
    TokenId target_ = -1, distractor_ = -1;
    LayerMap map_;
};

}  // namespace savepoint::views
