#include "views/panels.h"

#include "views/anomaly_panel.h"
#include "views/attention_panel.h"
#include "views/collapse_panel.h"
#include "views/drift_panel.h"
#include "views/experiment_panel.h"
#include "views/graph_panel.h"
#include "views/jobs_panel.h"
#include "views/latent_editor_panel.h"
#include "views/lens_panel.h"
#include "views/model_panel.h"
#include "views/patching_panel.h"
#include "views/phi_panel.h"
#include "views/projection_panel.h"
#include "views/rate_distortion_panel.h"
#include "views/reconstruction_panel.h"
#include "views/training_panel.h"
#include "views/trajectory_panel.h"
#include "views/transcript_panel.h"

namespace savepoint::views {

std::vector<std::unique_ptr<Panel>> make_panels() {
    std::vector<std::unique_ptr<Panel>> panels;
    panels.push_back(std::make_unique<TranscriptPanel>());
    panels.push_back(std::make_unique<GraphPanel>());
    panels.push_back(std::make_unique<TrajectoryPanel>());
    panels.push_back(std::make_unique<LatentEditorPanel>());
    panels.push_back(std::make_unique<ProjectionPanel>());
    panels.push_back(std::make_unique<DriftPanel>());
    panels.push_back(std::make_unique<PatchingPanel>());
    panels.push_back(std::make_unique<LensPanel>());
    panels.push_back(std::make_unique<AttentionPanel>());
    panels.push_back(std::make_unique<CollapsePanel>());
    panels.push_back(std::make_unique<ExperimentPanel>());
    panels.push_back(std::make_unique<PhiPanel>());
    panels.push_back(std::make_unique<AnomalyPanel>());
    panels.push_back(std::make_unique<ReconstructionPanel>());
    panels.push_back(std::make_unique<RateDistortionPanel>());
    panels.push_back(std::make_unique<TrainingPanel>());
    panels.push_back(std::make_unique<ModelPanel>());
    panels.push_back(std::make_unique<JobsPanel>());
    return panels;
}

}  // namespace savepoint::views
