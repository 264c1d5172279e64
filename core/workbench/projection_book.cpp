#include "core/workbench/projection_book.h"

#include <algorithm>
#include <cstring>

#include "core/workbench/desk.h"
#include "core/workbench/rows_task.h"

namespace savepoint {
namespace {

bool same(float a, float b) { return a == b || (std::isnan(a) && std::isnan(b)); }

bool same_figures(const ProjectionPoint& a, const ProjectionPoint& b) {
    return same(a.anomaly, b.anomaly) && same(a.hidden_fvu, b.hidden_fvu) && same(a.entropy, b.entropy);
}

template <typename T>
std::vector<T> kept(const std::vector<T>& all, const std::vector<char>& keep) {
    std::vector<T> left;
    for (size_t i = 0; i < all.size(); ++i)
        if (keep[i]) left.push_back(all[i]);
    return left;
}

}  // namespace

void ProjectionBook::adopt(Desk& desk, Made made) {
    made_ = std::move(made);
    gone_.clear();
    publish(desk);
    desk.analyses.wake();  // tokens may have come while it ran
}

void ProjectionBook::forget(Desk& desk, ThoughtId thought) {
    made_.considered.erase(thought);
    if (!made_.points) return;
    const auto& points = made_.points->points;
    if (std::none_of(points.begin(), points.end(), [&](const auto& p) { return p.thought == thought; })) return;
    gone_.insert(thought);
    publish(desk);
}

void ProjectionBook::sidecar_changed() {
    if (made_.settings.source == ProjectionSource::latents) made_.settings.follow = false;
}

bool ProjectionBook::behind(const Desk& desk) const {
    if (made_.maps.empty() || made_.plans.empty() || !made_.settings.follow) return false;
    for (const PathSpan& span : spans_in_scope(desk, made_.settings)) {
        const auto done = made_.considered.find(span.thought);
        const bool new_tokens = done == made_.considered.end() || done->second < span.count;
        if (new_tokens && rows_are_there(desk, span.thought)) return true;
    }
    return false;
}

bool ProjectionBook::follow(Desk& desk, int64_t most) {
    if (made_.maps.empty() || made_.plans.empty() || !made_.settings.follow) return false;
    for (const PathSpan& span : spans_in_scope(desk, made_.settings)) {
        int64_t& done = made_.considered[span.thought];
        if (done >= span.count || !rows_are_there(desk, span.thought)) continue;
        const int64_t shown = std::max(done, first_in_map(desk, made_.settings, span));
        const int64_t count = std::min(most, span.count - shown);
        auto points = std::make_shared<ProjectionPoints>(*made_.points);
        if (count > 0) {
            for (size_t m = 0; m < made_.maps.size(); ++m) {
                PointTable rows;
                gather_rows(desk, made_.settings, made_.plans[m], span.thought, shown, count, rows);
                made_.maps[m]->add(rows);
            }
            gather_points(desk, made_.plans.front(), span.thought, shown, count, points->points);
        }
        const int64_t each = made_.plans.front().per_token();
        points->followed += each * std::max<int64_t>(count, 0);
        points->asked += each * (shown + std::max<int64_t>(count, 0) - done);
        done = shown + std::max<int64_t>(count, 0);
        made_.points = std::move(points);
        publish(desk);
        return true;
    }
    return false;
}

void ProjectionBook::refresh(Desk& desk) {
    if (!made_.points || made_.plans.empty()) return;
    std::shared_ptr<ProjectionPoints> fresh;
    for (size_t i = 0; i < made_.points->points.size(); ++i) {
        const ProjectionPoint& held = made_.points->points[i];
        if (gone_.contains(held.thought) || !desk.graph.contains(held.thought)) continue;
        const TokenStats& stats =
            desk.graph.at(held.thought).stats[static_cast<size_t>(held.position - desk.graph.at(held.thought).prefix)];
        ProjectionPoint now = held;
        now.anomaly = stats.anomaly, now.hidden_fvu = stats.hidden_fvu, now.entropy = stats.entropy;
        if (same_figures(now, held)) continue;
        if (!fresh) fresh = std::make_shared<ProjectionPoints>(*made_.points);
        fresh->points[i] = std::move(now);
    }
    if (!fresh) return;
    made_.points = std::move(fresh);
    publish(desk);
}

void ProjectionBook::publish(Desk& desk) const {
    auto view = std::make_shared<ProjectionView>();
    view->state = made_.state;
    view->progress = 1;
    view->seconds = made_.seconds;
    view->settings = made_.settings;
    view->points = made_.points;
    for (const auto& map : made_.maps) view->maps.push_back(map->view());
    if (!gone_.empty()) {
        auto left = std::make_shared<ProjectionPoints>(*made_.points);
        std::vector<char> keep;
        for (const auto& point : left->points) keep.push_back(gone_.contains(point.thought) ? 0 : 1);
        left->points = kept(left->points, keep);
        view->points = std::move(left);
        for (ProjectionMap& map : view->maps) {
            map.places = std::make_shared<const std::vector<std::array<float, 3>>>(kept(*map.places, keep));
            if (map.clusters) map.clusters = std::make_shared<const std::vector<int32_t>>(kept(*map.clusters, keep));
        }
    }
    desk.publisher.set_projection(std::move(view));
}

}  // namespace savepoint
