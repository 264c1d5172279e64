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
constexpr float kPick = 11;  // pixels around a point in which the mouse finds it

const ThoughtView* find_thought(const Snapshot& snapshot, ThoughtId id) {
    for (const auto& thought : snapshot.graph->thoughts)
        if (thought.id == id) return &thought;
    return nullptr;
}

bool is_point(const TrajectoryPoint& point, TokenRef ref) {
    return point.thought == ref.thought && point.position == ref.position;
}

void halo_text(ImDrawList* draw, ImVec2 at, ImU32 colour, const std::string& text, float align = 0) {
    for (const ImVec2 by : {ImVec2(-1, 0), ImVec2(1, 0), ImVec2(0, -1), ImVec2(0, 1)})
        small_text(draw, {at.x + by.x, at.y + by.y}, palette::background, text, align);
    small_text(draw, at, colour, text, align);
}

// A label that stays readable on top of points and lines.
void tag_text(ImDrawList* draw, ImVec2 at, ImU32 colour, const std::string& text, float align = 0) {
    const float pad = 0.25f * em(), left = at.x - align * small_width(text);
    draw->AddRectFilled({left - pad, at.y - 2}, {left + small_width(text) + pad, at.y + small_height() + 2},
                        with_alpha(palette::background, 0.82f), 3);
    small_text(draw, at, colour, text, align);
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
        if (!first) which_ = Which::path, group_ = -1, asked_.clear(), asked_group_ = -1, fit_ = true;
    }
    if (which_ != Which::path && wanted_thoughts(snapshot) != asked_) request(frame);
}

void TrajectoryPanel::draw_thoughts_combo(Frame& frame) {
    ImGui::SetNextItemWidth(8.4f * em());
    if (ImGui::BeginCombo("##which", kWhich[static_cast<int>(which_)])) {
        for (int i = 0; i < 3; ++i)
            if (ImGui::Selectable(kWhich[i], i == static_cast<int>(which_)))
                which_ = static_cast<Which>(i), fit_ = true, request(frame);
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
                group_ = g, fit_ = true, request(frame);
        ImGui::EndCombo();
    }
    tooltip(
        "The layer group whose latents are projected; 'all groups' joins them, each component scaled by its standard "
        "deviation.");
}

void TrajectoryPanel::draw_controls(Frame& frame) {
    static const std::string kKinds[] = {"2D", "3D"};
    int kind = camera_.flat ? 0 : 1;
    if (segmented("kind", kKinds, kind, 0, {}, "The first two or three principal components."))
        camera_.flat = kind == 0, fit_ = true;
    flow(8.4f * em());
    draw_thoughts_combo(frame);
    draw_group_combo(frame);
    flow(7.8f * em());
    ImGui::SetNextItemWidth(7.8f * em());
    int colour = static_cast<int>(colour_);
    if (ImGui::Combo("##colour", &colour, kColours, 4)) colour_ = static_cast<PointColour>(colour);
    tooltip("What the colour of a point means; the legend is below.");
    flow(button_width("Reset view"));
    if (ImGui::Button("Reset view")) fit_ = true, everything_ = false;
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

void TrajectoryPanel::update_scene(const Snapshot& snapshot, float aspect) {
    if (view_ != snapshot.trajectory || view_colour_ != colour_) {
        // A growing path keeps the view that the user has chosen; otherwise it is kept in sight.
        const bool other = view_ == nullptr || view_->thoughts != snapshot.trajectory->thoughts ||
                           view_->group != snapshot.trajectory->group;
        if (view_ != snapshot.trajectory && (other || !moved_)) fit_ = true;
        view_ = snapshot.trajectory, view_colour_ = colour_;
        cloud_.set(cloud_points(*view_, colour_), path_lines(*view_, *snapshot.graph, colour_));
    }
    if (fit_) {
        bounds_ = everything_ ? bounds_of(*view_) : central_bounds(*view_, outside_);
        if (everything_) outside_ = 0;
        camera_ = fit_camera(camera_, bounds_, aspect);
        fit_ = false, moved_ = false;
    }
    cloud_.set_frame(frame_lines(camera_, bounds_, aspect));
}

void TrajectoryPanel::zoom(const Canvas& canvas, float wheel) {
    const float factor = std::pow(0.86f, wheel);
    const ImVec2 mouse = ImGui::GetMousePos();
    if (camera_.flat) {  // what is under the mouse stays there
        const float height = canvas.high.y - canvas.low.y, width = canvas.high.x - canvas.low.x;
        const float x = (2 * (mouse.x - canvas.low.x) / width - 1) * camera_.extent * canvas.aspect;
        const float y = (1 - 2 * (mouse.y - canvas.low.y) / height) * camera_.extent;
        camera_.centre[0] += x * (1 - factor), camera_.centre[1] += y * (1 - factor);
    }
    camera_.extent = std::clamp(camera_.extent * factor, 1e-4f, 1e7f);
    moved_ = true;
}

void TrajectoryPanel::navigate(const Canvas& canvas) {
    ImGui::SetItemKeyOwner(ImGuiKey_MouseWheelY);
    const ImGuiIO& io = ImGui::GetIO();
    if (ImGui::IsItemHovered() && io.MouseWheel != 0) zoom(canvas, io.MouseWheel);
    if (ImGui::IsItemActivated()) dragged_ = 0;
    if (!ImGui::IsItemActive() || (io.MouseDelta.x == 0 && io.MouseDelta.y == 0)) return;
    dragged_ += std::fabs(io.MouseDelta.x) + std::fabs(io.MouseDelta.y);
    if (dragged_ < 4) return;  // a click that trembled
    const bool pan = camera_.flat || ImGui::IsMouseDown(ImGuiMouseButton_Right) ||
                     ImGui::IsMouseDown(ImGuiMouseButton_Middle) || io.KeyShift;
    if (pan) {
        const float unit = 2 * camera_.extent / (canvas.high.y - canvas.low.y);
        const Vec3 right = camera_.right(), up = camera_.up();
        for (int k = 0; k < 3; ++k) camera_.centre[k] += unit * (-io.MouseDelta.x * right[k] + io.MouseDelta.y * up[k]);
    } else {
        camera_.yaw -= 0.008f * io.MouseDelta.x;
        camera_.pitch = std::clamp(camera_.pitch + 0.008f * io.MouseDelta.y, -1.55f, 1.55f);
    }
    moved_ = true;
}

std::string TrajectoryPanel::axis_name(int axis) const {
    char text[48];
    std::snprintf(text, sizeof text, "PC%d, %.0f %% of variance", axis + 1, 100 * view_->explained[axis]);
    return text;
}

void TrajectoryPanel::draw_flat_axes(const Canvas& canvas) const {
    auto* draw = ImGui::GetWindowDrawList();
    const float rx = camera_.extent * canvas.aspect, ry = camera_.extent, pad = 0.3f * em();
    for (const auto& tick : ticks(camera_.centre[0] - rx, camera_.centre[0] + rx, 6)) {
        const ImVec2 at = project(canvas.matrix, {tick.value, camera_.centre[1], 0}, canvas.low, canvas.high).at;
        if (at.x > canvas.low.x + 3 * em() && at.x < canvas.high.x - small_width(axis_name(0)) - 1.6f * em())
            halo_text(draw, {at.x, canvas.high.y - small_height() - pad}, palette::text_dim, tick.text, 0.5f);
    }
    for (const auto& tick : ticks(camera_.centre[1] - ry, camera_.centre[1] + ry, 5)) {
        const ImVec2 at = project(canvas.matrix, {camera_.centre[0], tick.value, 0}, canvas.low, canvas.high).at;
        if (at.y > canvas.low.y + 1.6f * em() && at.y < canvas.high.y - 2 * em())
            halo_text(draw, {canvas.low.x + pad, at.y - small_height() / 2}, palette::text_dim, tick.text);
    }
    halo_text(draw, {canvas.high.x - pad, canvas.high.y - small_height() - pad}, palette::text, axis_name(0), 1);
    halo_text(draw, {canvas.low.x + pad, canvas.low.y + pad}, palette::text, axis_name(1));
}

void TrajectoryPanel::draw_orbit_axes(const Canvas& canvas) const {
    const AxisEnds axes = axis_ends(bounds_);
    const Projected origin = project(canvas.matrix, axes.corner, canvas.low, canvas.high);
    if (origin.w <= 0) return;
    for (int k = 0; k < 3; ++k) {
        const Projected end = project(canvas.matrix, axes.ends[k], canvas.low, canvas.high);
        if (end.w <= 0) continue;
        // Beyond the end of the axis, as it points on screen.
        const float half = small_width(axis_name(k)) / 2, dx = end.at.x - origin.at.x, dy = end.at.y - origin.at.y;
        const float length = std::max(1.0f, std::sqrt(dx * dx + dy * dy));
        const float x = end.at.x + dx / length * (half + 4),
                    y = end.at.y + dy / length * 0.9f * em() - small_height() / 2;
        const ImVec2 at = {std::clamp(x, canvas.low.x + half + 4, canvas.high.x - half - 4),
                           std::clamp(y, canvas.low.y + 4, canvas.high.y - small_height() - 4)};
        halo_text(ImGui::GetWindowDrawList(), at, palette::text, axis_name(k), 0.5f);
    }
}

void TrajectoryPanel::draw_axes(const Canvas& canvas) const {
    camera_.flat ? draw_flat_axes(canvas) : draw_orbit_axes(canvas);
}

int TrajectoryPanel::nearest_point(const Canvas& canvas) const {
    const ImVec2 mouse = ImGui::GetMousePos();
    int best = -1;
    float best_distance = kPick * kPick, best_w = FLT_MAX;
    for (size_t i = 0; i < view_->points.size(); ++i) {
        const Projected p = project(canvas.matrix, view_->points[i].at, canvas.low, canvas.high);
        if (p.w <= 0) continue;
        const float dx = p.at.x - mouse.x, dy = p.at.y - mouse.y, distance = dx * dx + dy * dy;
        // Of two that are about as near to the mouse, the one in front.
        if (distance < best_distance - 4 || (distance < best_distance + 4 && distance < kPick * kPick && p.w < best_w))
            best = static_cast<int>(i), best_distance = distance, best_w = p.w;
    }
    return best;
}

// Only while the edit is pending: once resumed it is a thought of its own.
void TrajectoryPanel::draw_edit(const Snapshot& snapshot, const Canvas& canvas) const {
    const bool pending = snapshot.preview != nullptr && find_token(snapshot, snapshot.preview->at) != nullptr;
    if (!view_->has_edit || !pending) return;
    const Projected from = project(canvas.matrix, view_->edit_from, canvas.low, canvas.high);
    const Projected to = project(canvas.matrix, view_->edit_to, canvas.low, canvas.high);
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
    const float most = canvas.high.x - width - 0.4f * em(), x = beside > most ? to.at.x - side - width : beside;
    const ImVec2 at = {
        std::clamp(x, canvas.low.x + 0.4f * em(), std::max(canvas.low.x + 0.4f * em(), most)),
        std::max(canvas.low.y + 2 * em(), std::min(to.at.y - small_height() / 2, canvas.high.y - 2 * em()))};
    tag_text(draw, at, view_->edit_distance > 2 ? palette::warning : palette::edited, text);
}

void TrajectoryPanel::draw_marks(Frame& frame, const Canvas& canvas, int under_mouse) const {
    auto* draw = ImGui::GetWindowDrawList();
    const TokenRef chosen = by_owner(frame.snapshot, frame.snapshot.selected),
                   pointed = by_owner(frame.snapshot, frame.ui.hovered);
    for (size_t i = 0; i < view_->points.size(); ++i) {
        const auto& point = view_->points[i];
        const bool selected = is_point(point, chosen);
        const bool hovered = is_point(point, pointed) || static_cast<int>(i) == under_mouse;
        if (!selected && !hovered) continue;
        const Projected p = project(canvas.matrix, point.at, canvas.low, canvas.high);
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

void TrajectoryPanel::draw_outside_note(const Canvas& canvas) {
    if (outside_ == 0) return;
    const std::string label =
        std::to_string(outside_) + (outside_ == 1 ? " outlier is" : " outliers are") + " outside: show all";
    ImGui::SetCursorScreenPos({canvas.high.x - button_width(label.c_str()) - 0.4f * em(), canvas.low.y + 0.4f * em()});
    if (ImGui::SmallButton(label.c_str())) everything_ = true, fit_ = true;
    tooltip(
        "The view leaves out points far from the rest, such as the first token of a prompt, which would squeeze the "
        "others together.");
}

void TrajectoryPanel::draw_canvas(Frame& frame) {
    const ImVec2 low = ImGui::GetCursorScreenPos(), room = ImGui::GetContentRegionAvail();
    const ImVec2 size = {std::floor(std::max(room.x, 4 * em())), std::floor(std::max(room.y, 4 * em()))};
    Canvas canvas{low, {low.x + size.x, low.y + size.y}, size.x / size.y, {}};
    ImGui::SetNextItemAllowOverlap();
    ImGui::InvisibleButton(
        "canvas", size,
        ImGuiButtonFlags_MouseButtonLeft | ImGuiButtonFlags_MouseButtonRight | ImGuiButtonFlags_MouseButtonMiddle);
    const bool hovered = ImGui::IsItemHovered(), clicked = ImGui::IsItemDeactivated() && hovered && dragged_ < 4 &&
                                                           ImGui::IsMouseReleased(ImGuiMouseButton_Left);
    const bool dragging = ImGui::IsItemActive() && dragged_ >= 4;
    navigate(canvas);
    update_scene(frame.snapshot, canvas.aspect);
    canvas.matrix = camera_.matrix(canvas.aspect);
    const float scale = ImGui::GetIO().DisplayFramebufferScale.x > 0 ? ImGui::GetIO().DisplayFramebufferScale.x : 1;
    const ImTextureID picture = cloud_.render(camera_, static_cast<int>(size.x * scale),
                                              static_cast<int>(size.y * scale), palette::background, scale);
    auto* draw = ImGui::GetWindowDrawList();
    draw->PushClipRect(canvas.low, canvas.high, true);
    if (picture != ImTextureID_Invalid)
        draw->AddImage(picture, canvas.low, canvas.high, {0, 1}, {1, 0});
    else
        small_text(draw, {low.x + em(), low.y + 2 * em()}, palette::warning,
                   "The cloud cannot be drawn: " + (cloud_.error().empty() ? "no OpenGL context." : cloud_.error()));
    draw_axes(canvas);
    const int under_mouse = hovered && !dragging ? nearest_point(canvas) : -1;
    draw_edit(frame.snapshot, canvas);
    draw_marks(frame, canvas, under_mouse);
    draw->PopClipRect();
    draw->AddRect(canvas.low, canvas.high, palette::border, 2);
    draw_outside_note(canvas);
    if (under_mouse < 0) return;
    const auto& point = view_->points[under_mouse];
    frame.ui.hovering = {point.thought, point.position};
    point_tooltip(frame.snapshot, point);
    if (clicked) frame.submit(command::Select{{point.thought, point.position}});
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
