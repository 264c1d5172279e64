#pragma once

#include "views/frame.h"

namespace savepoint::views {

// What anomaly scores are made of, as a button that opens the choices; and, where their reference is not fitted yet, a
// line that offers to fit it, or shows how far that is.
class AnomalyChoiceForm {
   public:
    void draw_button(Frame& frame);
    void draw_reference(Frame& frame) const;

   private:
    void draw_choices(Frame& frame);
    void draw_phi(AnomalyChoice& choice);
    void draw_pruning(Frame& frame);
};

}  // namespace savepoint::views
