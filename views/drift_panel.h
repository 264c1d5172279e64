#pragma once

#include <optional>

#include "views/layer_map.h"
#include "views/run_pair.h"

namespace savepoint::views {

// Where two thoughts part: how far apart each part of their states is, token by token and layer by layer, with the
// first cell out of the noise band marked; from there one click leads to patching.
class DriftPanel : public Panel {
   public:
    const char* title() const override { return "Drift"; }
    const char* help() const override {
        return "How far apart the states of two thoughts are, by token and layer, against texts that have nothing to "
               "do with each other, and where they first part.";
    }
    void draw(Frame& frame) override;
    std::vector<std::pair<std::string, std::function<void(Frame&)>>> actions() override;

   private:
    void draw_runs(Frame& frame);
    void draw_choices(const DriftView& view);
    void draw_first(Frame& frame, const DriftView& view, const DriftMap& map);
    void draw_map(Frame& frame, const DriftView& view, const DriftMap& map);
    void draw_tooltip(const DriftView& view, const DriftMap& map, int64_t pair, int64_t row) const;
    std::string row_name(const DriftView& view, const DriftMap& map, int64_t row) const;
    void compare(Frame& frame) const;
    void patch(Frame& frame, const DriftView& view) const;
    const DriftMap* shown_map(const DriftView& view) const;
    float cell(const DriftMap& map, int64_t pair, int64_t row) const;

    RunChoice runs_;
    int part_ = 0, head_ = 0;  // head 0: the farthest of all
    float band_ = 5;           // percent
    PhiKind phi_ = PhiKind::elu1;
    bool rotary_ = false;
    LayerMap map_;
};

}  // namespace savepoint::views
