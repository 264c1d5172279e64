#pragma once

#include <array>

#include "views/frame.h"

namespace savepoint::app {

// Two minutes through the program: steps that tick themselves off when the user has done them.
class Tour {
   public:
    static constexpr int kSteps = 7;

    void start();
    void draw(const Snapshot& snapshot, const views::SharedUi& ui);
    bool active() const { return active_; }
    int done() const;

   private:
    void watch(const Snapshot& snapshot, const views::SharedUi& ui);
    std::array<bool, kSteps> done_{};
    bool active_ = false;
};

}  // namespace savepoint::app
