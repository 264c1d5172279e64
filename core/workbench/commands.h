#pragma once

// Commands in. Plain structs only: views include this file.

#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "core/analysis/anomaly_choice.h"
#include "core/analysis/fit_settings.h"
#include "core/analysis/phi_ranking_settings.h"
#include "core/analysis/pruning_settings.h"
#include "core/model/sampler_settings.h"
#include "core/sidecar/edit.h"
#include "core/sidecar/learned_settings.h"
#include "core/sidecar/rate_distortion_settings.h"
#include "core/state/edge_kind.h"
#include "core/workbench/causal_view.h"
#include "core/workbench/lens_view.h"
#include "core/workbench/projection_settings.h"

namespace savepoint {

struct GenerateSettings {
    SamplerSettings sampler;
    int64_t max_tokens = 128;
    bool ignore_end = false;  // go on after an end-of-text or end-of-turn token
};

namespace command {

// -- model --------------------------------------------------------------------------------------------------
struct LoadModel {
    std::string path;
};

// -- generating: each makes a new thought, which becomes current --------------------------------------------
// A new root, or (with `after`) the next user turn after the end of that thought.
struct Generate {
    std::string prompt;
    std::optional<std::string> system;  // chat only; unset: the template's own default
    bool chat = true;                   // false: raw text, special tokens in it parsed
    GenerateSettings settings;
    ThoughtId after = 0;
};
struct Continue {
    ThoughtId thought;
    GenerateSettings settings;
};  // on from its end
struct BranchHere {
    TokenRef at;
    GenerateSettings settings;
};  // on from the token (inclusive)
struct ReplaceToken {
    TokenRef at;
    TokenId token;
    GenerateSettings settings;
};               // counterfactual: another token there
struct Stop {};  // the running generation, within one token

// -- the graph ----------------------------------------------------------------------------------------------
struct Select {
    TokenRef token;
};  // in every panel
struct SetCurrent {
    ThoughtId thought;
};  // the path that the transcript shows
struct RewindHere {
    TokenRef token;
};  // makes the thought current and selects the token: generation goes on from there
struct Rename {
    ThoughtId thought;
    std::string label;
};
struct SetNote {
    ThoughtId thought;
    std::string note;
};
struct Bookmark {
    ThoughtId thought;
    bool on;
};
struct RemoveThought {
    ThoughtId thought;
};  // a leaf

// -- latent edits on the selected token ---------------------------------------------------------------------
// Shows the next-token distribution before, with the control and with the edit. Newer previews replace
// older ones that have not run yet. Empty edits clear the preview.
struct PreviewEdit {
    TokenRef at;
    std::vector<LatentEdit> edits;
};
struct ResumeEdit {
    TokenRef at;
    std::vector<LatentEdit> edits;
    GenerateSettings settings;
};  // the branch beside the original

// -- analyses -----------------------------------------------------------------------------------------------
// What anomaly scores are made of, kept in the session. Where its reference is fitted it is used at once, else the old
// one stays in use and Snapshot::reference says so.
struct SetAnomalyChoice {
    AnomalyChoice choice;
};
// Fits the reference of the choice that was asked for last, in the background, stores it and takes it into use.
struct FitReference {};
// Scores of the current path's states as a pruned cache would have them, beside the full ones: AnomalyView::pruned.
struct SetPruning {
    Pruning pruning;
};
// From which anomaly percentile on, 0..100, a token is marked; kept in the session.
struct SetMarkThreshold {
    double percentile;
};
struct SetTrajectory {
    std::vector<ThoughtId> thoughts;
    int64_t group = -1;
};  // group -1: all groups, in the units of their distances; empty: follow the current path
// Maps of many tokens, in the background: Snapshot::projection.
struct Project {
    ProjectionSettings settings;
};
// How far apart two thoughts are, token by token and layer by layer, in the background: Snapshot::drift.
struct CompareRuns {
    ThoughtId a = 0, b = 0;
    DriftSettings settings;
};
// Which place of one thought turns another's outcome into its own, in the background: Snapshot::patch.
struct PatchRuns {
    PatchRequest request;
};
// What each layer would say next, in the background: Snapshot::lens.
struct ReadThroughLens {
    LensRequest request;
};
// What every head of a token looks at: Snapshot::attention.
struct ShowAttention {
    TokenRef token;
};
// Whether the attention that tokens receive is added up for the current path, also while it grows:
// Snapshot::attention_mass.
struct WatchAttentionMass {
    bool on;
};
// Signs of collapse of the sidecar, its latents, or soft prompts, in the background: Snapshot::diagnosis.
struct Diagnose {
    CollapseSettings settings;
};
struct MeasureResume {
    ThoughtId thought;
    int64_t prefix = 0;
};  // KL and top-1 after resuming; prefix 0: half of the path

// -- sidecar ------------------------------------------------------------------------------------------------
struct FitSidecar {
    FitSettings settings;
};
// Fits and judges codecs on held-out text, in the background: Snapshot::rate_distortion.
struct CompareCodecs {
    RateDistortionSettings settings;
};
// A codec of Snapshot::rate_distortion, by name, on a thought's own path: Snapshot::codec_trial. prefix 0: half of it.
struct TryCodec {
    ThoughtId thought;
    std::string codec;
    int64_t prefix = 0;
    int64_t greedy_tokens = 24;
};
// A thought's path kept as z alone, in a thought of its own: its state is what the codec decodes. codec: by name, as in
// TryCodec; empty: the sidecar, whose z must be joint.
struct KeepAsLatent {
    ThoughtId thought;
    std::string codec;
};
// Goes on from a file of `savepoint latent save` or of Export z.safetensors, likewise.
struct ResumeLatent {
    std::string path;
};
// Trains a learned codec, in the background: Snapshot::training. With the settings of one that was cut off, it goes on.
struct TrainCodec {
    TrainingSettings settings;
};
// Whether the linear-attention state tells anomalous texts from normal ones, in the background: Snapshot::experiment.
struct RunExperiment {
    std::string builtin, file;  // a name of builtin_experiments(), or a JSON file (experiment_settings.h)
    bool thorough = false;  // of a built-in one: every phi, form and text of its defaults; else elu1's read-out on 200
};
// Feature maps by how well they mimic the model's own attention, in the background: Snapshot::phi_ranking.
struct RankPhi {
    PhiRankingSettings settings;
};
struct PauseTraining {
    bool on;
};
struct StopTraining {
    bool judge;
};  // judge: what is trained by now is judged and stored; else all that is kept is the last checkpoint
struct LoadSidecar {
    std::string folder;
};

// -- sessions and files -------------------------------------------------------------------------------------
struct NewSession {};
struct SaveSession {
    std::string folder;
    std::string view;        // the app's own JSON (layout), kept as given
    bool exact_rows = true;  // false: keys and values come back by replay (SaveOptions)
};
struct OpenSession {
    std::string folder;
};  // read-only while another process has it open
// what: codecs.csv, transcript.csv, anomaly.csv, latents.safetensors, trajectory.csv, reconstruction.csv, preview.csv,
// graph.json, projection.csv, drift.csv, patch.csv, lens.csv,
// z.safetensors (of a thought that is kept as z), attention.csv, attention_mass.csv, diagnosis.csv, phi.csv,
// experiment.csv, experiment.html, experiment.json
struct Export {
    std::string what;
    std::string path;
};

// A picture or a selection that a view has drawn up as text; written atomically.
struct WriteFile {
    std::string path, contents;
};

// -- memory -------------------------------------------------------------------------------------------------
// Above it the states of thoughts that are not shown are dropped, hidden states first, then keys and values,
// those least recently shown first. They come back by replay, bit for bit. Edits and token ids are never dropped.
struct SetMemoryBudget {
    int64_t bytes;  // of the states of all thoughts; 0: no limit
};

// -- jobs ---------------------------------------------------------------------------------------------------
struct CancelJob {
    int64_t job;
};
struct DismissError {
    int64_t error;
};

}  // namespace command

using Command =
    std::variant<command::LoadModel, command::Generate, command::Continue, command::BranchHere, command::ReplaceToken,
                 command::Stop, command::Select, command::SetCurrent, command::RewindHere, command::Rename,
                 command::SetNote, command::Bookmark, command::RemoveThought, command::PreviewEdit, command::ResumeEdit,
                 command::SetAnomalyChoice, command::FitReference, command::SetPruning, command::SetMarkThreshold,
                 command::SetTrajectory, command::MeasureResume, command::FitSidecar, command::CompareCodecs,
                 command::TryCodec, command::KeepAsLatent, command::ResumeLatent, command::CompareRuns,
                 command::PatchRuns, command::ReadThroughLens, command::ShowAttention, command::WatchAttentionMass,
                 command::Diagnose, command::TrainCodec, command::RunExperiment, command::RankPhi,
                 command::PauseTraining, command::StopTraining, command::Project, command::WriteFile,
                 command::LoadSidecar, command::NewSession, command::SaveSession, command::OpenSession, command::Export,
                 command::SetMemoryBudget, command::CancelJob, command::DismissError>;

}  // namespace savepoint
