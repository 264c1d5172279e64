#pragma once

#include <map>
#include <memory>
#include <set>
#include <vector>

#include "core/state/thought_graph.h"
#include "core/workbench/map_fit.h"
#include "core/workbench/projection_source.h"
#include "core/workbench/projection_view.h"

namespace savepoint {

struct Desk;

// The maps that were made last, and what comes into them afterwards. Worker thread only.
class ProjectionBook {
   public:
    struct Made {
        ProjectionSettings settings;
        std::vector<MapPlan> plans;                 // of the maps; empty for a file
        std::vector<std::unique_ptr<MapFit>> maps;  // each has places
        std::shared_ptr<const ProjectionPoints> points;
        std::map<ThoughtId, int64_t> considered;  // own tokens of each thought that are in the map or left out
        ProjectionState state = ProjectionState::done;
        double seconds = 0;
    };
    void clear() { made_ = {}, gone_.clear(); }
    void adopt(Desk& desk, Made made);
    void forget(Desk& desk, ThoughtId thought);  // its points are drawn no longer
    void sidecar_changed();                      // later latents would be others: nothing follows any more
    bool behind(const Desk& desk) const;         // follow() would place something
    // Places at most so many tokens that came into scope since; false: there are none, or their rows are not there.
    bool follow(Desk& desk, int64_t most);
    // Scores and errors of tokens that were measured after the map was made.
    void refresh(Desk& desk);

   private:
    void publish(Desk& desk) const;

    Made made_;
    std::set<ThoughtId> gone_;
};

}  // namespace savepoint
