#include "core/workbench/analyses.h"

#include <algorithm>

#include "core/workbench/desk.h"
#include "core/workbench/rows_task.h"

namespace savepoint {
namespace {

constexpr int64_t kPiece = 64;                    // tokens of a background step
constexpr int64_t kLivePiece = 8;                 // scoring a few at a time costs less than one by one
constexpr int64_t kCatchUp = 32;                  // after a prompt, without a pause that is felt between two tokens
constexpr int64_t kCostlyPiece = 4;               // of forms that cost a state a token
constexpr int64_t kPrunedPiece = 8;               // each of which sums up a cache
constexpr int64_t kMassPairs = int64_t{1} << 17;  // queries times keys of a step that adds up attention

int64_t score_piece(const Desk& desk, int64_t of_read_outs) {
    return is_read_out(desk.references.choice().form) ? of_read_outs : kCostlyPiece;
}

int64_t mass_piece(int64_t tokens) { return std::clamp<int64_t>(kMassPairs / std::max<int64_t>(1, tokens), 16, 128); }

}  // namespace

void Analyses::clear() {
    run_.reset();
    scores_.clear();
    pruned_.clear();
    latents_.clear();
    masses_.clear();
    trajectory_.clear();
    reconstructions_.clear();
    edit_.reset();
    wake();
}

void Analyses::forget(ThoughtId thought) {
    if (run_ && run_->thought() == thought) run_.reset();
    scores_.forget(thought);
    latents_.forget(thought);
    masses_.forget(thought);
    std::erase_if(reconstructions_, [&](const auto& entry) { return entry.first.first == thought; });
}

bool Analyses::wanted(const Desk& desk) const {
    return awake_ && desk.model && (desk.fit.sidecar || desk.watches_attention_mass) && desk.current != 0 &&
           desk.generating == 0;
}

bool Analyses::missing(const Desk& desk) const {
    const std::pair key(desk.current, desk.graph.path_length(desk.current));
    if (desk.watches_attention_mass && masses_.counted(desk, desk.current) < key.second) return true;
    if (!desk.fit.sidecar) return false;
    if (desk.references.active(desk) && !scored(desk, desk.current)) return true;
    if (pruned_.behind(desk, desk.current)) return true;
    return trajectory_.stale(desk) || desk.projection.behind(desk) || !reconstructions_.contains(key);
}

Step Analyses::step(Desk& desk) {
    if (!wanted(desk)) return Step::done;
    if (rows_missing(desk)) return awake_ ? Step::again : Step::done;
    const bool coded = desk.fit.sidecar != nullptr;
    if (coded && (score(desk) || prune(desk) || encode(desk) || place(desk) || follow(desk))) return Step::again;
    if (weigh(desk)) return Step::again;
    const Step step = coded ? reconstruct(desk) : Step::done;
    if (step == Step::done) awake_ = false;
    return step;
}

// Recomputing rows comes before analyses in precedence, so asking for it is enough.
bool Analyses::rows_missing(Desk& desk) {
    for (const ThoughtId thought : awaiting_rows(desk)) {
        if (rows_are_there(desk, thought)) continue;
        if (desk.rows_refused.contains(thought)) {
            awake_ = false;
            return true;
        }
        stage_ = "waiting for hidden states";
        request_rows(desk, thought);
        return true;
    }
    for (const PathSpan& span : desk.graph.path(desk.current)) {
        if (rows_are_there(desk, span.thought)) continue;
        awake_ = !desk.rows_refused.contains(span.thought);
        if (awake_) request_rows(desk, desk.current);
        return true;
    }
    return false;
}

bool Analyses::score(Desk& desk) {
    if (!desk.references.active(desk)) return false;
    stage_ = "scoring tokens";
    const bool worked = scores_.advance(desk, desk.current, score_piece(desk, kPiece));
    const auto& shown = desk.publisher.anomaly();
    const bool outdated = !shown || shown->thought != desk.current || shown->choice != desk.references.choice() ||
                          shown->tokens != desk.graph.path_length(desk.current);
    if (worked || outdated) publish_anomaly(desk);
    return worked;
}

bool Analyses::prune(Desk& desk) {
    if (!pruned_.behind(desk, desk.current)) return false;
    stage_ = "scoring the pruned cache";
    pruned_.advance(desk, desk.current, kPrunedPiece);
    publish_anomaly(desk);
    return true;
}

bool Analyses::encode(Desk& desk) {
    stage_ = "encoding latents";
    for (const PathSpan& span : Trajectory::spans(desk))
        if (latents_.advance(desk, span.thought, span.count, kPiece)) return true;
    return false;
}

bool Analyses::place(Desk& desk) {
    if (!trajectory_.stale(desk)) return false;
    stage_ = "placing the trajectory";
    trajectory_.fit(desk, latents_);
    publish_trajectory(desk);
    return true;
}

// A run whose path is no longer shown is waited for, not broken off: its figures are kept for coming back.
Step Analyses::reconstruct(Desk& desk) {
    stage_ = "measuring the reconstruction";
    if (run_ && run_->finished()) take_reconstruction(desk);
    const std::pair key(desk.current, desk.graph.path_length(desk.current));
    if (const auto known = reconstructions_.find(key); known != reconstructions_.end()) {
        if (desk.publisher.reconstruction() != known->second) desk.publisher.set_reconstruction(known->second);
        return Step::done;
    }
    if (!run_) run_ = std::make_unique<ReconstructionRun>(desk, desk.current);
    return Step::waiting;
}

// Tokens that came after a map of many was made are placed in it.
bool Analyses::follow(Desk& desk) {
    stage_ = "placing tokens in the map";
    if (desk.projection.follow(desk, kPiece)) return true;
    desk.projection.refresh(desk);
    return false;
}

bool Analyses::weigh(Desk& desk) {
    if (!desk.watches_attention_mass) return false;
    stage_ = "adding up attention";
    const int64_t length = desk.graph.path_length(desk.current);
    const bool worked = masses_.advance(desk, desk.current, mass_piece(length));
    const auto& shown = desk.publisher.attention_mass();
    if (worked || !shown || shown->thought != desk.current || shown->tokens != length) show_mass(desk);
    return worked;
}

void Analyses::take_reconstruction(Desk& desk) {
    const std::unique_ptr<ReconstructionRun> finished = std::move(run_);
    const std::pair key(finished->thought(), finished->tokens());
    auto& view = reconstructions_[key] = finished->view(desk);
    if (waiting_fidelity_ && waiting_fidelity_->first == key) view = with_fidelity(*view, waiting_fidelity_->second);
}

void Analyses::take_query(ThoughtId thought, int64_t position, at::Tensor query) {
    scores_.take_query(thought, position, std::move(query));
}

void Analyses::live(Desk& desk, ThoughtId thought) {
    const auto start = std::chrono::steady_clock::now();
    const bool pruned_behind = pruned_.behind(desk, thought, kLivePiece);
    if (start < live_again_ || (!behind(desk, thought) && !unweighed(desk, thought) && !pruned_behind)) return;
    // A session just opened lacks hidden states of earlier thoughts: scores follow when they have come back.
    for (const PathSpan& span : desk.graph.path(thought))
        if (!rows_are_there(desk, span.thought)) return;
    if (unweighed(desk, thought)) {
        masses_.advance(desk, thought, kCatchUp);
        if (desk.current == thought) show_mass(desk);
    }
    if (behind(desk, thought)) catch_up(desk, thought);
    if (pruned_behind) pruned_.advance(desk, thought, kPrunedPiece);
    if (desk.current == thought && desk.fit.sidecar) {
        publish_anomaly(desk);
        if (!trajectory_.has_basis() && desk.graph.path_length(thought) >= 4 * kLivePiece)
            trajectory_.fit(desk, latents_);
        publish_trajectory(desk);
        desk.projection.follow(desk, kCatchUp);
    }
    const auto end = std::chrono::steady_clock::now();
    live_again_ = end + 3 * (end - start);
}

bool Analyses::behind(const Desk& desk, ThoughtId thought) const {
    if (!desk.fit.sidecar) return false;
    return !desk.references.active(desk) ||
           desk.graph.path_length(thought) - scores_.scored(desk, thought) >= kLivePiece;
}

bool Analyses::unweighed(const Desk& desk, ThoughtId thought) const {
    return desk.watches_attention_mass && desk.graph.path_length(thought) - masses_.counted(desk, thought) >= kCatchUp;
}

void Analyses::catch_up(Desk& desk, ThoughtId thought) {
    if (desk.references.active(desk)) scores_.advance(desk, thought, score_piece(desk, kCatchUp));
    for (const PathSpan& span : desk.graph.path(thought))
        if (latents_.advance(desk, span.thought, span.count, kCatchUp)) return;
}

void Analyses::show(Desk& desk) {
    show_mass(desk);
    if (!desk.model || !desk.fit.sidecar) return;
    publish_anomaly(desk);
    publish_trajectory(desk);
    const auto known = desk.current == 0 ? reconstructions_.end()
                                         : reconstructions_.find({desk.current, desk.graph.path_length(desk.current)});
    desk.publisher.set_reconstruction(known == reconstructions_.end() ? nullptr : known->second);
}

void Analyses::show_mass(Desk& desk) {
    desk.publisher.set_attention_mass(desk.watches_attention_mass ? masses_.view(desk, desk.current) : nullptr);
}

void Analyses::choice_changed(Desk& desk) {
    scores_.write_all(desk);
    wake();
    show(desk);
}

double Analyses::progress(const Desk& desk) const {
    if (desk.current == 0) return 1;
    const auto length = static_cast<double>(std::max<int64_t>(1, desk.graph.path_length(desk.current)));
    const auto scored = static_cast<double>(scores_.scored(desk, desk.current));
    double encoded = 0;
    for (const PathSpan& span : desk.graph.path(desk.current))
        encoded += static_cast<double>(std::min(span.count, latents_.encoded(span.thought)));
    const double coded = desk.fit.sidecar ? 0.6 * scored / length + 0.3 * encoded / length : 1;
    if (!desk.watches_attention_mass) return coded;
    return 0.7 * coded + 0.3 * static_cast<double>(masses_.counted(desk, desk.current)) / length;
}

std::vector<ThoughtId> Analyses::awaiting_rows(const Desk& desk) const {
    std::vector<ThoughtId> thoughts;
    if (!desk.fit.sidecar) return thoughts;
    for (const PathSpan& span : Trajectory::spans(desk))
        if (latents_.encoded(span.thought) < span.count) thoughts.push_back(span.thought);
    return thoughts;
}

bool Analyses::scored(const Desk& desk, ThoughtId thought) const {
    return scores_.scored(desk, thought) == desk.graph.path_length(thought);
}

// A slider asks for this many times a second: the points stay what they are.
void Analyses::set_edit(Desk& desk, EditPoint point) {
    edit_ = std::move(point);
    const auto& shown = desk.publisher.trajectory();
    if (shown) desk.publisher.set_trajectory(trajectory_.with_edit(desk, *shown, *edit_));
}

void Analyses::clear_edit(Desk& desk) {
    edit_.reset();
    const auto& shown = desk.publisher.trajectory();
    if (shown && shown->has_edit) desk.publisher.set_trajectory(without_edit(*shown));
}

void Analyses::set_fidelity(Desk& desk, ThoughtId thought, const ResumeFidelity& fidelity) {
    const std::pair key(thought, desk.graph.path_length(thought));
    const auto known = reconstructions_.find(key);
    if (known == reconstructions_.end()) {
        waiting_fidelity_ = {key, fidelity};
        return wake();
    }
    known->second = with_fidelity(*known->second, fidelity);
    if (desk.current == thought) desk.publisher.set_reconstruction(known->second);
}

void Analyses::publish_anomaly(Desk& desk) {
    desk.publisher.set_anomaly(pruned_.beside(desk, scores_.view(desk, desk.current)));
}

void Analyses::publish_trajectory(Desk& desk) {
    const auto view = trajectory_.view(desk, latents_);
    desk.publisher.set_trajectory(view && edit_ ? trajectory_.with_edit(desk, *view, *edit_) : view);
}

AnalysisTask::AnalysisTask(Desk& desk) : Task(TaskKind::analysis, "Analysing the path"), desk_(desk) {}

Step AnalysisTask::step() { return desk_.analyses.step(desk_); }

void AnalysisTask::stop() { desk_.analyses.sleep(); }

double AnalysisTask::progress() const { return desk_.analyses.progress(desk_); }

std::string AnalysisTask::stage() const { return desk_.analyses.stage(); }

}  // namespace savepoint
