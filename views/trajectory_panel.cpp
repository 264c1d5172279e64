#include "views/trajectory_panel.h"

#include <imgui.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <string>

#include "views/chart.h"
#include "views/palette.h"
#include "views/widgets.h"

namespace savepoint::views {
namespace {

constexpr const char* kWhich[] = {"current path", "path and siblings", "all thoughts"};
constexpr const char* kColours[] = {"thought", "position", "anomaly", "log-probability"};

const ThoughtView* find_thought(const Snapshot& snapshot, ThoughtId id) {
    for (const auto& thought : snapshot.graph->thoughts)
        if (thought.id == id) return &thought;
    return nullptr;
}

bool is_point(const TrajectoryPoint& point, TokenRef ref) {
    return point.thought == ref.thought && point.position == ref.position;
}

float colour_share(int64_t position, int64_t last) {
    return static_cast<float>(position) / static_cast<float>(std::max<int64_t>(1, last));
}

ImU32 point_colour(const TrajectoryPoint& point, PointColour by, int64_t last) {
    switch (by) {
        case PointColour::thought:
            return palette::thought(point.thought);
        case PointColour::position:
            return bright_sequential(colour_share(point.position, last));
        case PointColour::anomaly:
            return bright_sequential((point.anomaly - 50) / 50);
        case PointColour::log_probability:
            return bright_log_probability(point.log_probability);
    }
    return palette::text;
}

}  // namespace

std::vector<ThoughtId> TrajectoryPanel::wanted_thoughts(const Snapshot& snapshot) const {
    std::vector<ThoughtId> ids;
    if (which_ == Which::path) return ids;  // empty: follow the current path
    const ThoughtView* current = find_thought(snapshot, snapshot.current);
    if (which_ == Which::siblings && current != nullptr) ids.push_back(current->id);
    for (const auto& thought : snapshot.graph->thoughts) {
        const bool sibling =
            current != nullptr && thought.id != current->id && thought.parent == current->parent && thought.parent != 0;
        if (which_ == Which::all || sibling) ids.push_back(thought.id);
    }
    return ids;
}

void TrajectoryPanel::request(Frame& frame) {
    asked_ = wanted_thoughts(frame.snapshot), asked_group_ = group_;
    frame.submit(command::SetTrajectory{asked_, group_});
}

void TrajectoryPanel::follow(Frame& frame) {
    const Snapshot& snapshot = frame.snapshot;
    if (snapshot.session.opened != session_) {
        const bool first = session_ < 0;
        session_ = snapshot.session.opened;
        if (!first) which_ = Which::path, group_ = -1, asked_.clear(), asked_group_ = -1, canvas_.reset_view();
    }
    if (which_ != Which::path && wanted_thoughts(snapshot) != asked_) request(frame);
}

void TrajectoryPanel::draw_thoughts_combo(Frame& frame) {
    ImGui::SetNextItemWidth(8.4f * em());
    if (ImGui::BeginCombo("##which", kWhich[static_cast<int>(which_)])) {
        for (int i = 0; i < 3; ++i)
            if (ImGui::Selectable(kWhich[i], i == static_cast<int>(which_)))
                which_ = static_cast<Which>(i), canvas_.reset_view(), request(frame);
        ImGui::EndCombo();
    }
    tooltip("Which thoughts are shown: the current path, with those that branch from the same parent, or all of them.");
}

void TrajectoryPanel::draw_group_combo(Frame& frame) {
    const auto& groups = frame.snapshot.sidecar->groups;
    const bool one = group_ >= 0 && group_ < static_cast<int>(groups.size());
    flow(7 * em());
    ImGui::SetNextItemWidth(7 * em());
    if (ImGui::BeginCombo("##group", one ? groups[group_].label.c_str() : "all groups")) {
        for (int g = -1; g < static_cast<int>(groups.size()); ++g)
            if (ImGui::Selectable(g < 0 ? "all groups" : groups[g].label.c_str(), g == group_))
                group_ = g, canvas_.reset_view(), request(frame);
        ImGui::EndCombo();
    }
    tooltip(
        "The layer group whose latents are projected; 'all groups' joins them, each component scaled by its standard "
        "deviation, or where one z holds the group's state by that of the whole group.");
}

void TrajectoryPanel::draw_controls(Frame& frame) {
    static const std::string kKinds[] = {"2D", "3D"};
    int kind = canvas_.flat() ? 0 : 1;
    if (segmented("kind", kKinds, kind, 0, {}, "The first two or three principal components."))
        canvas_.set_flat(kind == 0);
    flow(8.4f * em());
    draw_thoughts_combo(frame);
    draw_group_combo(frame);
    flow(7.8f * em());
    ImGui::SetNextItemWidth(7.8f * em());
    int colour = static_cast<int>(colour_);
    if (ImGui::Combo("##colour", &colour, kColours, 4)) colour_ = static_cast<PointColour>(colour);
    tooltip("What the colour of a point means; the legend is below.");
    flow(button_width("Reset view"));
    if (ImGui::Button("Reset view")) canvas_.reset_view();
    tooltip("Shows the whole cloud again. Drag pans (2D) or turns (3D; right button pans), the wheel zooms.");
}

void TrajectoryPanel::draw_thought_legend(const Snapshot& snapshot) {
    std::vector<ThoughtId> ids;
    for (const auto& point : snapshot.trajectory->points)
        if (std::ranges::find(ids, point.thought) == ids.end()) ids.push_back(point.thought);
    constexpr size_t kMost = 6;
    for (size_t i = 0; i < std::min(ids.size(), kMost); ++i) {
        const ThoughtView* thought = find_thought(snapshot, ids[i]);
        std::string name = "thought " + std::to_string(ids[i]);
        if (thought != nullptr && !thought->label.empty()) name = thought->label;
        if (i > 0) flow(swatch_width(name));
        swatch(palette::thought(ids[i]), name, thought != nullptr ? thought->text.c_str() : nullptr);
    }
    if (ids.size() <= kMost) return;
    const std::string rest = "and " + std::to_string(ids.size() - kMost) + " more";
    flow(small_width(rest));
    small_label(rest, palette::text_dim);
}

void TrajectoryPanel::draw_legend(const Snapshot& snapshot) {
    int64_t last = 0;
    for (const auto& point : snapshot.trajectory->points) last = std::max(last, point.position);
    switch (colour_) {
        case PointColour::thought:
            return draw_thought_legend(snapshot);
        case PointColour::position:
            return gradient_legend("position", "0", std::to_string(last).c_str(), bright_sequential,
                                   "Position of the token in its path.");
        case PointColour::anomaly:
            return gradient_legend("anomaly", "50 or less", "100th percentile", bright_sequential,
                                   "How unusual the token's attention state is among calibration tokens at like "
                                   "positions; grey: not scored.");
        case PointColour::log_probability:
            return gradient_legend(
                "log-probability", "-10", "0 nats", [](float t) { return bright_log_probability(-10 + 10 * t); },
                "Log-probability that the model gave the token, in nats; grey: the first token has none.");
    }
}

void TrajectoryPanel::update_scene(const Frame& frame) {
    const Snapshot& snapshot = frame.snapshot;
    const int64_t selection = frame.ui.selection.changes();
    if (view_ == snapshot.trajectory && view_colour_ == colour_ && view_selection_ == selection) return;
    const bool other = view_ == nullptr || view_->thoughts != snapshot.trajectory->thoughts ||
                       view_->group != snapshot.trajectory->group;
    view_ = snapshot.trajectory, view_colour_ = colour_, view_selection_ = selection;
    int64_t last = 1;
    for (const auto& point : view_->points) last = std::max(last, point.position);
    const float radius = disc_radius(view_->points.size());
    std::vector<Vec3> places;
    std::vector<CloudPoint> points;
    std::vector<PathToken> tokens;
    for (const auto& point : view_->points) {
        places.push_back(point.at);
        tokens.push_back({point.thought, point.position});
        const bool apart = !frame.ui.selection.empty() && !frame.ui.selection.contains(point.thought, point.position);
        points.push_back({point.at, with_alpha(point_colour(point, colour_, last), apart ? 0.25f : 1), radius});
    }
    const auto links = token_links(tokens, *snapshot.graph);
    auto lines = link_lines(links, places, points, false);
    canvas_.set(std::move(places), std::move(points), std::move(lines), other);
}

std::string TrajectoryPanel::axis_name(int axis) const {
    char text[48];
    std::snprintf(text, sizeof text, "PC%d, %.0f %% of variance", axis + 1, 100 * view_->explained[axis]);
    return text;
}

// Only while the edit is pending: once resumed it is a thought of its own.
void TrajectoryPanel::draw_edit(const Snapshot& snapshot) const {
    const bool pending = snapshot.preview != nullptr && find_token(snapshot, snapshot.preview->at) != nullptr;
    if (!view_->has_edit || !pending) return;
    const Projected from = canvas_.project(view_->edit_from), to = canvas_.project(view_->edit_to);
    if (from.w <= 0 || to.w <= 0) return;
    auto* draw = ImGui::GetWindowDrawList();
    const float dx = to.at.x - from.at.x, dy = to.at.y - from.at.y, length = std::sqrt(dx * dx + dy * dy);
    const float r = 0.42f * em();
    if (length > 3 * r) {
        const float ux = dx / length, uy = dy / length;
        const ImVec2 start = {from.at.x + ux * r, from.at.y + uy * r},
                     tip = {to.at.x - ux * (r + 2), to.at.y - uy * (r + 2)};
        draw->AddLine(start, tip, palette::edited, 1.6f);
        const float s = 0.38f * em();
        draw->AddTriangleFilled(tip, {tip.x - ux * s - uy * s * 0.5f, tip.y - uy * s + ux * s * 0.5f},
                                {tip.x - ux * s + uy * s * 0.5f, tip.y - uy * s - ux * s * 0.5f}, palette::edited);
    }
    draw->AddQuadFilled({to.at.x, to.at.y - r}, {to.at.x + r, to.at.y}, {to.at.x, to.at.y + r}, {to.at.x - r, to.at.y},
                        palette::background);
    draw->AddQuad({to.at.x, to.at.y - r}, {to.at.x + r, to.at.y}, {to.at.x, to.at.y + r}, {to.at.x - r, to.at.y},
                  palette::edited, 2);
    if (std::isnan(view_->edit_distance)) return;
    char text[64];
    std::snprintf(text, sizeof text, "edited, %.2f x typical distance", view_->edit_distance);
    // Beside the mark, and in sight when the mark is not.
    const float width = small_width(text), side = 0.8f * em(), beside = to.at.x + side;
    const ImVec2 low = canvas_.low(), high = canvas_.high();
    const float most = high.x - width - 0.4f * em(), x = beside > most ? to.at.x - side - width : beside;
    const ImVec2 at = {std::clamp(x, low.x + 0.4f * em(), std::max(low.x + 0.4f * em(), most)),
                       std::max(low.y + 2 * em(), std::min(to.at.y - small_height() / 2, high.y - 2 * em()))};
    tag_text(draw, at, view_->edit_distance > 2 ? palette::warning : palette::edited, text);
}

void TrajectoryPanel::draw_marks(Frame& frame) const {
    const int under_mouse = canvas_.under_mouse();
    auto* draw = ImGui::GetWindowDrawList();
    const TokenRef chosen = by_owner(frame.snapshot, frame.snapshot.selected),
                   pointed = by_owner(frame.snapshot, frame.ui.hovered);
    for (size_t i = 0; i < view_->points.size(); ++i) {
        const auto& point = view_->points[i];
        const bool selected = is_point(point, chosen);
        const bool hovered = is_point(point, pointed) || static_cast<int>(i) == under_mouse;
        if (!selected && !hovered) continue;
        const Projected p = canvas_.project(point.at);
        if (p.w <= 0) continue;
        if (hovered) draw->AddCircle(p.at, 0.5f * em(), palette::text, 0, 1.5f);
        if (selected) draw->AddCircle(p.at, 0.62f * em(), palette::accent, 0, 2.5f);
        if (selected || static_cast<int>(i) == under_mouse)
            tag_text(draw, {p.at.x, p.at.y - 0.8f * em() - small_height()}, palette::text, visible(point.text), 0.5f);
    }
}

void TrajectoryPanel::point_tooltip(const Snapshot& snapshot, const TrajectoryPoint& point) const {
    const TokenView* token = find_token(snapshot, {point.thought, point.position});
    if (token != nullptr) return token_tooltip(*token);
    if (!ImGui::BeginTooltip()) return;
    ImGui::Text("\"%s\"", visible(point.text).c_str());
    ImGui::TextDisabled("position %d, thought %d", static_cast<int>(point.position), static_cast<int>(point.thought));
    ImGui::Text("log-probability  %s nats", format_number(point.log_probability).c_str());
    ImGui::Text("anomaly  %s (percentile)", format_number(point.anomaly).c_str());
    ImGui::EndTooltip();
}

void TrajectoryPanel::draw_canvas(Frame& frame) {
    update_scene(frame);
    canvas_.begin("trajectory", ImGui::GetContentRegionAvail(), {{axis_name(0), axis_name(1), axis_name(2)}, true});
    if (canvas_.draft()) frame.ui.redraw_after(0.16);
    draw_edit(frame.snapshot);
    draw_marks(frame);
    canvas_.end();
    if (canvas_.under_mouse() < 0) return;
    const auto& point = view_->points[static_cast<size_t>(canvas_.under_mouse())];
    frame.ui.hovering = {point.thought, point.position};
    point_tooltip(frame.snapshot, point);
    if (canvas_.clicked()) frame.submit(command::Select{{point.thought, point.position}});
}

void TrajectoryPanel::draw(Frame& frame) {
    const Snapshot& snapshot = frame.snapshot;
    follow(frame);
    if (snapshot.sidecar->phase == Phase::working) {
        char advice[256];
        std::snprintf(advice, sizeof advice, "%.0f %%: %s. The trajectory appears when it is done.",
                      100 * snapshot.sidecar->progress,
                      snapshot.sidecar->stage.empty() ? "starting" : snapshot.sidecar->stage.c_str());
        empty_state("The sidecar is being fitted", advice);
        return;
    }
    if (snapshot.trajectory == nullptr || snapshot.trajectory->points.empty()) {
        const bool has_text = snapshot.path != nullptr && !snapshot.path->tokens.empty();
        if (has_text && snapshot.sidecar->phase == Phase::ready)
            empty_state("Projecting the latents", "The trajectory appears in a moment.");
        else if (has_text)
            empty_state("No latents yet", "They need a sidecar: fit one under Model and sidecar.");
        else
            empty_state("No trajectory yet", "Generate from a prompt: each token's latent becomes a point here.");
        return;
    }
    draw_controls(frame);
    draw_legend(snapshot);
    draw_canvas(frame);
}

}  // namespace savepoint::views
