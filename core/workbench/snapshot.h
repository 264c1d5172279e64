#pragma once

// Snapshots out. Plain structs only, immutable once published: views include this file and draw it.
// Parts are shared between snapshots; a null part means "nothing to show yet" (the panel says how to get some).

#include <array>
#include <cmath>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "core/analysis/anomaly_choice.h"
#include "core/analysis/pruning_settings.h"
#include "core/model/sampler_settings.h"
#include "core/sidecar/edit.h"
#include "core/state/edge_kind.h"
#include "core/workbench/causal_view.h"
#include "core/workbench/commands.h"
#include "core/workbench/lens_view.h"
#include "core/workbench/marks.h"
#include "core/workbench/projection_view.h"
#include "core/workbench/reference_view.h"

namespace savepoint {

enum class Phase { absent, working, ready, failed };

struct ModelView {
    Phase phase = Phase::absent;
    double progress = 0;  // 0..1 while working
    std::string error;
    std::string name, path, sha256, architecture, device, precision;
    int64_t layers = 0, d_model = 0, d_ff = 0, heads = 0, kv_heads = 0, head_dim = 0, vocab = 0, context = 0;
    int64_t weight_bytes = 0, file_bytes = 0;
    bool has_chat_template = false;
    std::string default_system_prompt;
};

struct LatentGroupView {
    int64_t first_block = 0, last_block = 0;
    std::string label;             // "blocks 4-7"
    std::vector<float> explained;  // per component, fraction of the group's hidden variance, descending
};

struct SidecarView {
    Phase phase = Phase::absent;
    double progress = 0;
    std::string stage, error;  // stage: what the fit is doing
    std::string kind, path, hash, corpus;
    int64_t fitted_tokens = 0, calibration_tokens = 0, bytes = 0;
    bool joint = false;  // one z for hidden states, keys and values: no components of keys and values then
    int64_t group_size = 0, key_components = 0, value_components = 0, bits = 0;
    double bytes_per_token = NAN, ratio_fp16 = NAN;  // of z, without token ids
    std::vector<LatentGroupView> groups;
    // [blocks][components], fraction of the variance of the block's keys or values, descending
    std::vector<std::vector<float>> key_explained, value_explained;
    // held-out figures of the fit; NaN when not measured
    double hidden_fvu = NAN, key_fvu = NAN, value_fvu = NAN, kl_nats = NAN, top1_agreement = NAN;
};

struct CandidateView {
    TokenId id = 0;
    std::string text;  // displayable
    float probability = 0;
};

struct TokenView {
    TokenId id = 0;
    std::string text;             // displayable UTF-8: newline as is, incomplete bytes as <0xE4>
    float log_probability = NAN;  // nats; NaN for the first token
    float entropy = NAN;          // nats, of the next-token distribution
    float anomaly = NAN;          // percentile 0..100
    float hidden_fvu = NAN;       // reconstruction error of this token
    bool special = false, prompt = false, edited = false;  // edited: an intervention replaced its rows
    bool decoded = false;                                  // its keys and values are decoded from z
    bool marked = false;                                   // its anomaly reaches Snapshot::mark_threshold
    ThoughtId thought = 0;                                 // that owns it
    int64_t position = 0;                                  // in the path
    std::vector<CandidateView> next;                       // ten most likely next tokens
};

// root -> current thought
struct PathView {
    ThoughtId thought = 0;
    bool generating = false;
    std::vector<std::shared_ptr<const TokenView>> tokens;
};

struct ThoughtView {
    ThoughtId id = 0, parent = 0, other_parent = 0;
    EdgeKind edge = EdgeKind::root;
    int64_t prefix = 0, tokens = 0, prompt_tokens = 0, path_tokens = 0;
    std::string label;   // user's, or empty
    std::string text;    // first words of its own tokens, one line
    std::string detail;  // how the edge was made, one line: "blocks 12-15 hidden #3 set to +2.0 sd at 17"
    std::string note;
    bool bookmarked = false, generating = false, has_hidden = false, has_kv = false;
    float mean_log_probability = NAN, max_anomaly = NAN;
    int64_t marks = 0, first_mark = -1;  // of its own tokens: how many are marked, the first one's position in the path
    double reward = 0;
    int64_t bytes = 0;  // of its rows in memory
    // Of an edge `decoded`: z, and KL(exact || decoded) of the next token after it, nats, where there was an exact one.
    std::string codec;
    int64_t z_bytes = 0;
    double fp16_bytes = NAN, kl_next = NAN;
};

struct GraphView {
    std::vector<ThoughtView> thoughts;  // ascending id
    int64_t bytes = 0;
};

// z of the selected token, in standard deviations from the mean of the reference set.
struct LatentView {
    TokenRef token;
    std::vector<std::vector<float>> hidden;      // [groups][components]
    std::vector<std::vector<float>> key, value;  // [blocks][components]
};

struct PreviewRow {
    TokenId id = 0;
    std::string text;
    float before = 0, control = 0, edited = 0;  // probabilities
};

// The next-token distribution after the token: exact, with decode(z), and with decode(edited z).
struct PreviewView {
    TokenRef at;
    std::vector<LatentEdit> edits;
    std::vector<PreviewRow> rows;                          // union of the ten most likely of each, by max probability
    double kl_control = 0;                                 // KL(before || control), nats: the codec's own error
    double kl_edited = 0;                                  // KL(control || edited), nats: the effect
    double distance_control = NAN, distance_edited = NAN;  // of z from the reference cloud; 1 is typical
    double milliseconds = 0;                               // from command to result
};

struct AnomalyView {
    ThoughtId thought = 0;
    AnomalyChoice choice;
    int64_t tokens = 0, layers = 0, heads = 0;  // heads: query heads, or KV heads, as the form has them
    // [tokens * layers * heads], token-major; the first `scored` tokens are valid
    int64_t scored = 0;
    std::vector<float> percentile, distance;
    std::vector<float> token_percentile, token_score;  // [tokens]
    int64_t masked = 0;                                // quotients of these tokens whose denominator vanished
    // The same of the states as a pruned cache has them; the first `pruned_scored` tokens are valid.
    Pruning pruning;
    int64_t pruned_scored = 0;
    std::vector<float> pruned_percentile, pruned_distance, pruned_token_percentile;
};

struct TrajectoryPoint {
    ThoughtId thought = 0;
    int64_t position = 0;
    std::array<float, 3> at{};
    TokenId id = 0;
    float anomaly = NAN, log_probability = NAN;
    std::string text;
};

// PCA of the latents of the chosen thoughts (each path's own tokens once), in one basis.
struct TrajectoryView {
    std::vector<ThoughtId> thoughts;
    int64_t group = -1;
    std::vector<TrajectoryPoint> points;  // by thought, then position
    std::array<float, 3> explained{};     // fraction of variance of the first three axes
    // The edited z of the preview in the same basis, and where it started from.
    bool has_edit = false;
    std::array<float, 3> edit_from{}, edit_to{};
    double edit_distance = NAN;  // from the reference cloud; 1 is typical
};

struct ByteLine {
    std::string label;
    double bytes_per_token = 0;
};

struct ReconstructionView {
    ThoughtId thought = 0;
    int64_t tokens = 0, first_tokens = 4, layers = 0, kv_heads = 0;
    std::vector<float> hidden_mse, hidden_fvu, hidden_fvu_first;  // [layers]
    std::vector<float> key_mse, value_mse, key_fvu, value_fvu;    // [layers * kv_heads]
    std::vector<ByteLine> account;                                // every part that is stored
    double bytes_per_token = 0;                                   // of the whole path, all parts
    double raw_fp16_bytes_per_token = 0, replay_bytes_per_token = 4;
    int64_t sidecar_bytes = 0;
    // MeasureResume; NaN until asked for
    int64_t resume_prefix = 0, resume_tokens = 0;
    double kl_nats = NAN, kl_p95 = NAN, top1_agreement = NAN, delta_nll = NAN;
};

// A codec's figures on held-out text (core/sidecar/codec_evaluation.h says what each is); NaN: not of its part.
struct CodecView {
    std::string name, kind, part;  // part: "hidden", "kv" or "full"
    std::string file;              // where it is stored; empty: nowhere
    bool at_hand = false;          // can be tried (command::TryCodec)
    double bytes_per_token = 0, ratio_fp16 = 0;
    int64_t sidecar_bytes = 0;
    double kl_nats = NAN, kl_p95 = NAN, top1_agreement = NAN, delta_nll = NAN;
    double hidden_fvu = NAN, k_fvu = NAN, v_fvu = NAN, mid_layer_mse = NAN;
    double encode_tokens_per_s = NAN, restore_tokens_per_s = NAN;
    std::vector<float> hidden_fvu_layers, k_fvu_layers, v_fvu_layers;
};

// The comparison of codecs, growing while it runs.
struct RateDistortionView {
    Phase phase = Phase::absent;  // absent: was cancelled
    double progress = 0;
    std::string stage, error;
    RateDistortionSettings settings;
    std::vector<CodecView> codecs;
    double replay_tokens_per_s = NAN;
};

// A codec on a thought's own path (command::TryCodec): the first `prefix` tokens decoded, those that follow compared;
// and what the model says after the whole path, greedily, from its exact and from its decoded state.
struct CodecTrialView {
    ThoughtId thought = 0;
    CodecView codec;  // its figures on this path
    int64_t prefix = 0, followers = 0;
    double replay_tokens_per_s = NAN;
    int64_t greedy_tokens = 0, agreement = 0;  // agreement: tokens before the first that differs
    std::string exact_text, resumed_text;      // empty: a codec of hidden states alone, which nothing resumes from
};

// A training, growing while it runs (core/sidecar/codec_training.h).
struct TrainingView {
    Phase phase = Phase::absent;             // absent: was cancelled
    bool paused = false, finishing = false;  // finishing: asked to end with what is trained
    double progress = 0, seconds_left = NAN;
    std::string stage, error;
    TrainingSettings settings;
    int64_t resumed_rounds = 0;  // of the curve, from a checkpoint
    std::vector<TrainingPoint> curve;
    std::vector<CodecView> codecs;   // judged: transforms of neighbouring rates, then the trained one
    double against_transform = NAN;  // its KL (hidden states: FVU) over the transform's at equal bytes
    std::string file;                // of the trained codec
};

struct JobView {
    int64_t id = 0;
    std::string name, message;  // message: stage, or the error
    double progress = 0, seconds = 0, seconds_left = NAN;
    enum class State { queued, running, done, cancelled, failed } state = State::running;
    bool cancellable = true;
};

struct LogLine {
    double time = 0;  // seconds since the epoch
    enum class Level { info, warning, error } level = Level::info;
    std::string text;
};

struct ErrorView {
    int64_t id = 0;
    std::string title, message;
};

struct StatusView {
    double tokens_per_second = 0;  // of the running or last generation
    int64_t resident_bytes = 0;
    int64_t rows_bytes = 0;     // of the states and edits of all thoughts, in memory
    int64_t memory_budget = 0;  // that those should keep to; 0: none
    int threads = 0;
    bool generating = false, busy = false;
};

struct SessionView {
    std::string folder;  // empty: never saved
    bool modified = false;
    std::string view;        // the app's JSON of an opened session
    int64_t opened = 0;      // counts OpenSession/NewSession, so the app can tell a new one
    bool read_only = false;  // another process has it open: changes are saved under another name
};

struct ExperimentView;  // experiment_view.h
struct PhiRankingView;  // phi_ranking_view.h

struct Snapshot {
    uint64_t version = 0;
    std::shared_ptr<const ModelView> model;      // never null
    std::shared_ptr<const SidecarView> sidecar;  // never null
    std::shared_ptr<const GraphView> graph;      // never null
    std::shared_ptr<const PathView> path;        // of the current thought
    TokenRef selected;
    ThoughtId current = 0;
    AnomalyChoice anomaly_choice;                    // in use
    std::shared_ptr<const ReferenceView> reference;  // never null
    Pruning pruning;
    double mark_threshold = kMarkThreshold;  // percentile
    std::shared_ptr<const LatentView> latent;
    std::shared_ptr<const PreviewView> preview;
    std::shared_ptr<const AnomalyView> anomaly;
    std::shared_ptr<const TrajectoryView> trajectory;
    std::shared_ptr<const ReconstructionView> reconstruction;
    std::shared_ptr<const RateDistortionView> rate_distortion;
    std::shared_ptr<const CodecTrialView> codec_trial;
    std::shared_ptr<const TrainingView> training;
    std::shared_ptr<const ProjectionView> projection;
    std::shared_ptr<const DriftView> drift;
    std::shared_ptr<const PatchView> patch;
    std::shared_ptr<const LensView> lens;
    std::shared_ptr<const AttentionView> attention;
    bool watches_attention_mass = false;
    std::shared_ptr<const AttentionMassView> attention_mass;  // of the current path, while it is watched
    std::shared_ptr<const DiagnosisView> diagnosis;
    std::shared_ptr<const ExperimentView> experiment;
    std::shared_ptr<const PhiRankingView> phi_ranking;
    std::shared_ptr<const std::vector<JobView>> jobs;  // never null; newest last
    std::shared_ptr<const std::vector<LogLine>> log;   // never null
    std::vector<ErrorView> errors;                     // not dismissed yet
    StatusView status;
    SessionView session;
};

}  // namespace savepoint
