#include "core/workbench/publisher.h"

#include "core/model/device.h"
#include "core/workbench/desk.h"
#include "core/workbench/views.h"

namespace savepoint {
namespace {

constexpr auto kSlowPeriod = std::chrono::milliseconds(100);

}  // namespace

Snapshot Publisher::first_parts() {
    Snapshot parts;
    parts.model = std::make_shared<const ModelView>();
    parts.sidecar = std::make_shared<const SidecarView>();
    parts.graph = std::make_shared<const GraphView>();
    parts.reference = std::make_shared<const ReferenceView>();
    parts.jobs = std::make_shared<const std::vector<JobView>>();
    parts.log = std::make_shared<const std::vector<LogLine>>();
    return parts;
}

void Publisher::set_model(ModelView view) {
    parts_.model = std::make_shared<const ModelView>(std::move(view));
    touch();
}

void Publisher::set_sidecar(SidecarView view) {
    parts_.sidecar = std::make_shared<const SidecarView>(std::move(view));
    touch();
}

void Publisher::set_latent(std::shared_ptr<const LatentView> view) {
    parts_.latent = std::move(view);
    touch();
}

void Publisher::set_preview(std::shared_ptr<const PreviewView> view) {
    parts_.preview = std::move(view);
    touch();
}

void Publisher::set_anomaly(std::shared_ptr<const AnomalyView> view) {
    parts_.anomaly = std::move(view);
    touch();
}

void Publisher::set_reference(ReferenceView view) {
    parts_.reference = std::make_shared<const ReferenceView>(std::move(view));
    touch();
}

void Publisher::set_trajectory(std::shared_ptr<const TrajectoryView> view) {
    parts_.trajectory = std::move(view);
    touch();
}

void Publisher::set_reconstruction(std::shared_ptr<const ReconstructionView> view) {
    parts_.reconstruction = std::move(view);
    touch();
}

void Publisher::set_experiment(std::shared_ptr<const ExperimentView> view) {
    parts_.experiment = std::move(view);
    touch();
}

void Publisher::set_phi_ranking(std::shared_ptr<const PhiRankingView> view) {
    parts_.phi_ranking = std::move(view);
    touch();
}

void Publisher::set_training(std::shared_ptr<const TrainingView> view) {
    parts_.training = std::move(view);
    touch();
}

void Publisher::set_rate_distortion(std::shared_ptr<const RateDistortionView> view) {
    parts_.rate_distortion = std::move(view);
    touch();
}

void Publisher::set_codec_trial(std::shared_ptr<const CodecTrialView> view) {
    parts_.codec_trial = std::move(view);
    touch();
}

void Publisher::set_drift(std::shared_ptr<const DriftView> view) {
    parts_.drift = std::move(view);
    touch();
}

void Publisher::set_lens(std::shared_ptr<const LensView> view) {
    parts_.lens = std::move(view);
    touch();
}

void Publisher::set_attention(std::shared_ptr<const AttentionView> view) {
    parts_.attention = std::move(view);
    touch();
}

void Publisher::set_attention_mass(std::shared_ptr<const AttentionMassView> view) {
    parts_.attention_mass = std::move(view);
    touch();
}

void Publisher::set_diagnosis(std::shared_ptr<const DiagnosisView> view) {
    parts_.diagnosis = std::move(view);
    touch();
}

void Publisher::set_patch(std::shared_ptr<const PatchView> view) {
    parts_.patch = std::move(view);
    touch();
}

void Publisher::set_projection(std::shared_ptr<const ProjectionView> view) {
    parts_.projection = std::move(view);
    touch();
}

void Publisher::tokens_appended(ThoughtId thought) {
    stale_thoughts_.insert(thought);
    path_changed();
}

void Publisher::tokens_changed(ThoughtId thought, int64_t first, int64_t count) {
    Tokens& tokens = tokens_[thought];
    const int64_t end = std::min(first + count, static_cast<int64_t>(tokens.size()));
    for (int64_t i = first; i < end; ++i) tokens[i].reset();
    tokens_appended(thought);
}

void Publisher::marks_changed(const Desk& desk) {
    for (auto& [thought, tokens] : tokens_)
        for (auto& token : tokens)
            if (token && token->marked != is_marked(token->anomaly, desk.mark_threshold)) token.reset();
    for (const auto& [id, thought] : desk.graph.thoughts()) stale_thoughts_.insert(id);
    path_changed();
}

void Publisher::thought_changed(ThoughtId thought) {
    stale_thoughts_.insert(thought);
    graph_urgent_ = true;
    path_changed();
}

void Publisher::thought_removed(ThoughtId thought) {
    tokens_.erase(thought);
    thoughts_.erase(thought);
    stale_thoughts_.erase(thought);
    graph_urgent_ = true;
}

void Publisher::graph_replaced() {
    tokens_.clear();
    thoughts_.clear();
    stale_thoughts_.clear();
    set_latent(nullptr);
    set_preview(nullptr);
    set_anomaly(nullptr);
    set_trajectory(nullptr);
    set_reconstruction(nullptr);
    set_projection(nullptr);
    set_drift(nullptr);
    set_patch(nullptr);
    set_lens(nullptr);
    set_attention(nullptr);
    set_codec_trial(nullptr);
    set_attention_mass(nullptr);
    graph_urgent_ = true;
    path_changed();
}

void Publisher::path_changed() { path_stale_ = touched_ = true; }

std::shared_ptr<const Snapshot> Publisher::build(Desk& desk, bool everything) {
    const bool due = everything || Clock::now() - last_slow_ >= kSlowPeriod;
    const bool slow_work = !stale_thoughts_.empty() || desk.notices.changed();
    const bool urgent = touched_ || graph_urgent_ || desk.notices.urgent();
    if (!urgent && !(slow_work && due)) return nullptr;

    if (path_stale_) build_path(desk);
    if (graph_urgent_ || (due && !stale_thoughts_.empty())) build_graph(desk);
    if (due || desk.notices.urgent()) {
        parts_.jobs = desk.notices.jobs();
        parts_.log = desk.notices.lines();
        parts_.errors = desk.notices.errors();
        desk.notices.published();
    }
    build_status(desk, due);
    if (due) last_slow_ = Clock::now();
    touched_ = false;
    ++parts_.version;
    return std::make_shared<const Snapshot>(parts_);
}

void Publisher::build_status(const Desk& desk, bool slow) {
    parts_.current = desk.current;
    parts_.selected = desk.selected;
    parts_.anomaly_choice = desk.references.choice();
    parts_.pruning = desk.pruning;
    parts_.mark_threshold = desk.mark_threshold;
    parts_.watches_attention_mass = desk.watches_attention_mass;
    parts_.session = desk.session;
    parts_.status.tokens_per_second = desk.tokens_per_second;
    parts_.status.rows_bytes = parts_.graph->bytes;
    parts_.status.memory_budget = desk.memory.bytes();
    parts_.status.generating = desk.generating != 0;
    parts_.status.busy = !desk.tasks.empty();
    if (!slow) return;
    parts_.status.threads = threads();
    parts_.status.resident_bytes = resident_bytes();
}

void Publisher::build_path(const Desk& desk) {
    path_stale_ = false;
    if (desk.current == 0 || !desk.model) {
        parts_.path = nullptr;
        return;
    }
    auto view = std::make_shared<PathView>();
    view->thought = desk.current;
    view->generating = desk.generating == desk.current;
    view->tokens.reserve(static_cast<size_t>(desk.graph.path_length(desk.current)));
    for (const PathSpan& span : desk.graph.path(desk.current)) {
        const Tokens& tokens = tokens_of(desk, span.thought);
        view->tokens.insert(view->tokens.end(), tokens.begin(), tokens.begin() + span.count);
    }
    parts_.path = std::move(view);
}

const Publisher::Tokens& Publisher::tokens_of(const Desk& desk, ThoughtId id) {
    const Thought& thought = desk.graph.at(id);
    Tokens& tokens = tokens_[id];
    tokens.resize(thought.tokens.size());
    for (size_t i = 0; i < tokens.size(); ++i)
        if (!tokens[i])
            tokens[i] = std::make_shared<const TokenView>(token_view(desk, thought, static_cast<int64_t>(i)));
    return tokens;
}

void Publisher::build_graph(const Desk& desk) {
    auto view = std::make_shared<GraphView>();
    view->thoughts.reserve(desk.graph.thoughts().size());
    for (const auto& [id, thought] : desk.graph.thoughts()) {
        const bool known = thoughts_.contains(id);
        if (!known || stale_thoughts_.contains(id)) thoughts_[id] = thought_view(desk, thought);
        view->thoughts.push_back(thoughts_[id]);
    }
    view->bytes = desk.graph.bytes();
    parts_.graph = std::move(view);
    stale_thoughts_.clear();
    graph_urgent_ = false;
}

}  // namespace savepoint
