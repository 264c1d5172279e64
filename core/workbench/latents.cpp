#include "core/workbench/latents.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <set>

#include "core/model/error.h"
#include "core/workbench/desk.h"
#include "core/workbench/views.h"

namespace savepoint {
namespace {

constexpr int64_t kFitRows = 512;  // bounds the one step that cannot be cut: an eigendecomposition

// [n, groups, components] -> [n, features]: one group as it is, or all of them in the units of their distances.
at::Tensor features(const Desk& desk, const at::Tensor& z, int64_t group) {
    const HiddenCodec& codec = desk.need_sidecar().hidden();
    if (group >= 0) return z.select(1, group).slice(1, 0, codec.components(group)).contiguous();
    const at::Tensor unit = codec.component_unit();
    const at::Tensor scaled = (z - codec.component_mean()) / unit.clamp_min(1e-20);
    return at::where(unit > 0, scaled, at::zeros_like(scaled)).reshape({z.size(0), -1});
}

std::array<float, 3> point(const at::Tensor& row) {
    std::array<float, 3> at{};
    const int64_t count = std::min<int64_t>(3, row.numel());
    for (int64_t i = 0; i < count; ++i) at[static_cast<size_t>(i)] = row[i].item<float>();
    return at;
}

// The first tokens are attention sinks, tens of standard deviations away: they would take every axis.
int64_t first_shown(const Desk& desk, const PathSpan& span) {
    return std::clamp<int64_t>(desk.need_sidecar().info().exact_first_tokens - span.first, 0, span.count);
}

at::Tensor thinned(const at::Tensor& rows) {
    const int64_t stride = (rows.size(0) + kFitRows - 1) / kFitRows;
    return stride <= 1 ? rows : rows.slice(0, 0, rows.size(0), stride).contiguous();
}

}  // namespace

bool LatentBook::advance(const Desk& desk, ThoughtId thought, int64_t count, int64_t tokens) {
    const int64_t done = encoded(thought);
    if (done >= count) return false;
    const Thought& owner = desk.graph.at(thought);
    const StateRows rows = desk.graph.path_rows(thought, owner.prefix + done, std::min(tokens, count - done));
    thoughts_[thought].push_back(desk.need_sidecar().hidden().encode(rows.hidden));
    return true;
}

int64_t LatentBook::encoded(ThoughtId thought) const {
    const auto found = thoughts_.find(thought);
    if (found == thoughts_.end()) return 0;
    int64_t count = 0;
    for (const at::Tensor& part : found->second) count += part.size(0);
    return count;
}

at::Tensor LatentBook::rows(ThoughtId thought, int64_t count) const {
    return at::cat(thoughts_.at(thought)).slice(0, 0, count);
}

void Trajectory::clear() {
    basis_.reset();
    fitted_ = {-2, {}};
}

std::vector<PathSpan> Trajectory::spans(const Desk& desk) {
    std::vector<ThoughtId> ends = desk.trajectory.thoughts;
    if (ends.empty() && desk.current != 0) ends.push_back(desk.current);
    std::map<ThoughtId, PathSpan> widest;
    for (const ThoughtId end : ends) {
        if (!desk.graph.contains(end)) continue;
        for (const PathSpan& span : desk.graph.path(end)) {
            PathSpan& held = widest.try_emplace(span.thought, span).first->second;
            held.count = std::max(held.count, span.count);
        }
    }
    std::vector<PathSpan> all;
    for (const auto& [id, span] : widest) all.push_back(span);
    return all;
}

Trajectory::Fitted Trajectory::wanted(const Desk& desk) {
    Fitted wanted{desk.trajectory.group, {}};
    for (const PathSpan& span : spans(desk)) wanted.tokens.emplace_back(span.thought, span.count);
    return wanted;
}

bool Trajectory::stale(const Desk& desk) const { return !(fitted_ == wanted(desk)); }

void Trajectory::fit(const Desk& desk, const LatentBook& book) {
    fitted_ = wanted(desk);
    basis_.reset();
    std::vector<at::Tensor> parts;
    for (const PathSpan& span : spans(desk)) {
        const int64_t count = std::min(span.count, book.encoded(span.thought)), first = first_shown(desk, span);
        if (count > first) parts.push_back(book.rows(span.thought, count).slice(0, first));
    }
    if (parts.empty()) return;
    const at::Tensor rows = at::cat(parts);
    if (rows.size(0) < 2) return;
    basis_ = fit_pca(thinned(features(desk, rows, desk.trajectory.group)), 3);
}

std::shared_ptr<const TrajectoryView> Trajectory::view(const Desk& desk, const LatentBook& book) const {
    if (!basis_) return nullptr;
    auto view = std::make_shared<TrajectoryView>();
    view->group = fitted_.group;
    view->explained = point(basis_->explained);
    view->thoughts = desk.trajectory.thoughts;
    for (const PathSpan& span : spans(desk)) {
        if (desk.trajectory.thoughts.empty()) view->thoughts.push_back(span.thought);
        add_points(desk, book, span, *view);
    }
    return view;
}

void Trajectory::add_points(const Desk& desk, const LatentBook& book, const PathSpan& span,
                            TrajectoryView& view) const {
    const int64_t count = std::min(span.count, book.encoded(span.thought)), first = first_shown(desk, span);
    if (count <= first) return;
    const Thought& thought = desk.graph.at(span.thought);
    const at::Tensor placed =
        basis_->project(features(desk, book.rows(span.thought, count), fitted_.group)).contiguous();
    const float* row = placed.const_data_ptr<float>();
    const int64_t axes = placed.size(1);
    for (int64_t i = first; i < count; ++i) {
        const TokenStats& stats = thought.stats[static_cast<size_t>(i)];
        TrajectoryPoint p;
        p.thought = span.thought;
        p.position = thought.prefix + i;
        std::copy_n(row + i * axes, std::min<int64_t>(3, axes), p.at.begin());
        p.id = thought.tokens[static_cast<size_t>(i)];
        p.anomaly = stats.anomaly;
        p.log_probability = stats.log_probability;
        p.text = token_text(desk, p.id);
        view.points.push_back(std::move(p));
    }
}

std::shared_ptr<const TrajectoryView> Trajectory::with_edit(const Desk& desk, TrajectoryView view,
                                                            const EditPoint& edit) const {
    if (basis_ && edit.from.defined()) {
        view.has_edit = true;
        view.edit_from = point(basis_->project(features(desk, edit.from, fitted_.group))[0]);
        view.edit_to = point(basis_->project(features(desk, edit.to, fitted_.group))[0]);
        view.edit_distance = edit.distance;
    }
    return std::make_shared<const TrajectoryView>(std::move(view));
}

std::shared_ptr<const TrajectoryView> without_edit(TrajectoryView view) {
    view.has_edit = false;
    view.edit_distance = NAN;
    return std::make_shared<const TrajectoryView>(std::move(view));
}

}  // namespace savepoint
