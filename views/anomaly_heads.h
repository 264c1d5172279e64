#pragma once

#include "views/anomaly_shown.h"
#include "views/chart.h"

namespace savepoint::views {

// The map of *Anomaly* at one token: layers (across) by heads.
class AnomalyHeads {
   public:
    void draw(Frame& frame, const AnomalyShown& shown, float height);
    void focus(Frame& frame, int64_t layer);  // its group is outlined, and asked for in the latent editor

   private:
    void input(Frame& frame, const Grid& grid, int64_t token);

    int64_t picked_layer_ = -1;
};

}  // namespace savepoint::views
