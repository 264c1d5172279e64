#pragma once

#include <span>
#include <vector>

#include "views/frame.h"
#include "views/latent_edits.h"

namespace savepoint::views {

// The components of one token's latent as sliders, those that explain most first.
class LatentSliders {
   public:
    struct Result {
        bool changed = false;   // the list of edits changed: preview it
        bool released = false;  // a slider was let go after a change
    };

    // Filter, order and number of rows, on one line.
    void draw_controls();
    // `original`: z of the shown part, in standard deviations; `explained`: may be empty (not known).
    Result draw(Frame& frame, const EditScope& scope, std::span<const float> original, std::span<const float> explained,
                int64_t token);

   private:
    struct Columns;
    std::vector<int64_t> order(const Frame& frame, const EditScope& scope, std::span<const float> original,
                               std::span<const float> explained) const;
    void draw_heading(const Columns& columns, bool has_explained) const;
    void draw_row(Frame& frame, const EditScope& scope, const Columns& columns, int64_t component, float original,
                  float explained, float most, int64_t token, Result& result);

    char filter_[32] = "";
    int sort_ = 0;  // 0: explained variance; 1: |z|; 2: edited first
    int shown_ = 16;
};

}  // namespace savepoint::views
