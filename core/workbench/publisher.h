#pragma once

#include <chrono>
#include <map>
#include <memory>
#include <set>
#include <vector>

#include "core/workbench/snapshot.h"

namespace savepoint {

struct Desk;

// Keeps the parts of the snapshot and rebuilds only what changed: one TokenView per token, made once; one
// ThoughtView per thought. What changes with every token but is costly to draw up (the graph, progress of
// jobs, memory) is refreshed some times a second. Worker thread only.
class Publisher {
   public:
    void set_model(ModelView view);
    void set_sidecar(SidecarView view);
    void set_latent(std::shared_ptr<const LatentView> view);
    void set_preview(std::shared_ptr<const PreviewView> view);
    void set_anomaly(std::shared_ptr<const AnomalyView> view);
    void set_reference(ReferenceView view);
    void set_trajectory(std::shared_ptr<const TrajectoryView> view);
    void set_reconstruction(std::shared_ptr<const ReconstructionView> view);
    void set_drift(std::shared_ptr<const DriftView> view);
    void set_lens(std::shared_ptr<const LensView> view);
    void set_attention(std::shared_ptr<const AttentionView> view);
    void set_attention_mass(std::shared_ptr<const AttentionMassView> view);
    void set_diagnosis(std::shared_ptr<const DiagnosisView> view);
    void set_patch(std::shared_ptr<const PatchView> view);
    void set_projection(std::shared_ptr<const ProjectionView> view);
    void set_rate_distortion(std::shared_ptr<const RateDistortionView> view);
    void set_codec_trial(std::shared_ptr<const CodecTrialView> view);
    void set_experiment(std::shared_ptr<const ExperimentView> view);
    void set_phi_ranking(std::shared_ptr<const PhiRankingView> view);
    void set_training(std::shared_ptr<const TrainingView> view);
    const ModelView& model() const { return *parts_.model; }
    const SidecarView& sidecar() const { return *parts_.sidecar; }
    const std::shared_ptr<const PreviewView>& preview() const { return parts_.preview; }
    const std::shared_ptr<const AnomalyView>& anomaly() const { return parts_.anomaly; }
    const std::shared_ptr<const TrajectoryView>& trajectory() const { return parts_.trajectory; }
    const std::shared_ptr<const ReconstructionView>& reconstruction() const { return parts_.reconstruction; }
    const std::shared_ptr<const DriftView>& drift() const { return parts_.drift; }
    const std::shared_ptr<const LensView>& lens() const { return parts_.lens; }
    const std::shared_ptr<const AttentionView>& attention() const { return parts_.attention; }
    const std::shared_ptr<const AttentionMassView>& attention_mass() const { return parts_.attention_mass; }
    const std::shared_ptr<const DiagnosisView>& diagnosis() const { return parts_.diagnosis; }
    const std::shared_ptr<const PatchView>& patch() const { return parts_.patch; }
    const std::shared_ptr<const ProjectionView>& projection() const { return parts_.projection; }
    const std::shared_ptr<const ExperimentView>& experiment() const { return parts_.experiment; }
    const std::shared_ptr<const PhiRankingView>& phi_ranking() const { return parts_.phi_ranking; }
    const std::shared_ptr<const RateDistortionView>& rate_distortion() const { return parts_.rate_distortion; }

    const std::shared_ptr<const CodecTrialView>& codec_trial() const { return parts_.codec_trial; }

    void tokens_appended(ThoughtId thought);
    void tokens_changed(ThoughtId thought, int64_t first, int64_t count);  // own tokens, whose figures changed
    void marks_changed(const Desk& desk);                                  // of any token: another threshold
    void thought_changed(ThoughtId thought);                               // added, completed, renamed
    void thought_removed(ThoughtId thought);
    void graph_replaced();
    void path_changed();
    void touch() { touched_ = true; }  // some small field: selection, session, status

    // The next snapshot, or null when there is nothing new. `everything`: nothing may be put off.
    std::shared_ptr<const Snapshot> build(Desk& desk, bool everything);

   private:
    using Clock = std::chrono::steady_clock;
    using Tokens = std::vector<std::shared_ptr<const TokenView>>;

    void build_path(const Desk& desk);
    void build_graph(const Desk& desk);
    void build_status(const Desk& desk, bool slow);
    const Tokens& tokens_of(const Desk& desk, ThoughtId thought);

    Snapshot parts_ = first_parts();
    static Snapshot first_parts();
    std::map<ThoughtId, Tokens> tokens_;
    std::map<ThoughtId, ThoughtView> thoughts_;
    std::set<ThoughtId> stale_thoughts_;
    bool touched_ = true, path_stale_ = true, graph_urgent_ = true;
    Clock::time_point last_slow_{};
};

}  // namespace savepoint
