#pragma once

#include <algorithm>
#include <deque>
#include <functional>
#include <iterator>
#include <string>
#include <utility>

namespace savepoint {

// A long job cut into steps of about a second: between two of them its owner answers others, shows progress, or drops
// it. A step's cost is its share of the whole, in seconds on two idle processors or any other unit; steps may plan
// more.
class StepQueue {
   public:
    struct Step {
        std::string stage;  // what it does, for people
        double cost;
        std::function<void()> run;
    };

    void plan(std::string stage, double cost, std::function<void()> run) {
        steps_.push_back({std::move(stage), cost, std::move(run)});
        planned_ += cost;
    }
    // In front of what is planned, in this order; their costs have been expected.
    void plan_first(std::deque<Step> steps) {
        steps_.insert(steps_.begin(), std::make_move_iterator(steps.begin()), std::make_move_iterator(steps.end()));
    }
    // Of steps that are planned later with plan_first, or that are passed over; the latter count as run.
    void expect(double cost) { planned_ += cost; }
    void pass_over(double cost) { spent_ += cost; }

    void run_next() {
        if (done()) return;
        const Step step = std::move(steps_.front());
        steps_.pop_front();
        step.run();
        spent_ += step.cost;
    }
    bool done() const { return steps_.empty(); }
    double progress() const { return done() ? 1 : spent_ == 0 ? 0 : std::min(1.0, spent_ / planned_); }
    std::string stage() const { return done() ? "" : steps_.front().stage; }  // of the next step

   private:
    std::deque<Step> steps_;
    double planned_ = 0, spent_ = 0;
};

// "exact run 3 of 12", index from 0.
inline std::string counted(const std::string& what, size_t index, size_t count) {
    return what + " " + std::to_string(index + 1) + " of " + std::to_string(count);
}

}  // namespace savepoint
