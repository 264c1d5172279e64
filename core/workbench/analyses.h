#pragma once

#include <chrono>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "core/sidecar/evaluate.h"
#include "core/workbench/latents.h"
#include "core/workbench/mass_book.h"
#include "core/workbench/pruned_book.h"
#include "core/workbench/reconstruction.h"
#include "core/workbench/scores.h"
#include "core/workbench/task.h"

namespace savepoint {

struct Desk;

// What is computed about the current path without being asked: anomaly scores, latents and their
// trajectory, the reconstruction error; and, while somebody watches it, attention mass. It looks at what is missing and
// does a piece of it, so that it may be interrupted, follow the user to another path, and never do a thing twice.
class Analyses {
   public:
    void clear();  // another graph or sidecar
    void forget(ThoughtId thought);
    void wake() { awake_ = true; }    // something changed: there may be work
    void sleep() { awake_ = false; }  // cancelled by the user, until something changes
    bool wanted(const Desk& desk) const;
    bool missing(const Desk& desk) const;  // there is something to do, and nobody refused it

    Step step(Desk& desk);  // one piece of what is missing
    // Whether what is scored live wants hook_q of each new token, and where it is left.
    bool wants_queries(const Desk& desk) const { return scores_.wants_queries(desk); }
    void take_query(ThoughtId thought, int64_t position, at::Tensor query);
    // Newest tokens of a running generation, a few at a time, in at most a quarter of its time.
    void live(Desk& desk, ThoughtId thought);
    void show(Desk& desk);  // publishes what is already known of the current path
    void show_mass(Desk& desk);
    void choice_changed(Desk& desk);  // scores are of another reference
    double progress(const Desk& desk) const;
    const std::string& stage() const { return stage_; }

    // Thoughts of the trajectory that are not encoded yet: their rows are needed.
    std::vector<ThoughtId> awaiting_rows(const Desk& desk) const;
    bool scored(const Desk& desk, ThoughtId thought) const;
    void set_edit(Desk& desk, EditPoint point);
    void clear_edit(Desk& desk);
    void set_fidelity(Desk& desk, ThoughtId thought, const ResumeFidelity& fidelity);

   private:
    bool rows_missing(Desk& desk);
    bool score(Desk& desk);
    bool encode(Desk& desk);
    bool place(Desk& desk);
    bool follow(Desk& desk);
    bool weigh(Desk& desk);
    bool prune(Desk& desk);
    Step reconstruct(Desk& desk);
    void take_reconstruction(Desk& desk);
    bool behind(const Desk& desk, ThoughtId thought) const;     // of scores and latents, by enough to go on
    bool unweighed(const Desk& desk, ThoughtId thought) const;  // the same of attention mass
    void catch_up(Desk& desk, ThoughtId thought);
    void publish_anomaly(Desk& desk);
    void publish_trajectory(Desk& desk);

    ScoreBook scores_;
    PrunedBook pruned_;
    LatentBook latents_;
    MassBook masses_;
    Trajectory trajectory_;
    std::optional<EditPoint> edit_;
    // By thought and tokens of its path.
    std::map<std::pair<ThoughtId, int64_t>, std::shared_ptr<const ReconstructionView>> reconstructions_;
    std::unique_ptr<ReconstructionRun> run_;
    std::optional<std::pair<std::pair<ThoughtId, int64_t>, ResumeFidelity>> waiting_fidelity_;
    std::string stage_;
    bool awake_ = false;
    std::chrono::steady_clock::time_point live_again_{};  // not before
};

// The background task that runs the above.
class AnalysisTask : public Task {
   public:
    explicit AnalysisTask(Desk& desk);
    Step step() override;
    void stop() override;
    double progress() const override;
    std::string stage() const override;

   private:
    Desk& desk_;
};

}  // namespace savepoint
