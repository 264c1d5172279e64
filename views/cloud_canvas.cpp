#include "views/cloud_canvas.h"

#include <imgui.h>
#include <imgui_internal.h>

#include <algorithm>
#include <cfloat>
#include <cmath>

#include "views/chart.h"
#include "views/palette.h"
#include "views/widgets.h"

namespace savepoint::views {
namespace {

constexpr float kPick = 11;       // pixels around a point in which the mouse finds it
constexpr float kClickSlack = 4;  // pixels that a hand trembles within a click

}  // namespace

void halo_text(ImDrawList* draw, ImVec2 at, ImU32 colour, const std::string& text, float align) {
    for (const ImVec2 by : {ImVec2(-1, 0), ImVec2(1, 0), ImVec2(0, -1), ImVec2(0, 1)})
        small_text(draw, {at.x + by.x, at.y + by.y}, palette::background, text, align);
    small_text(draw, at, colour, text, align);
}

void tag_text(ImDrawList* draw, ImVec2 at, ImU32 colour, const std::string& text, float align) {
    const float pad = 0.25f * em(), left = at.x - align * small_width(text);
    draw->AddRectFilled({left - pad, at.y - 2}, {left + small_width(text) + pad, at.y + small_height() + 2},
                        with_alpha(palette::background, 0.82f), 3);
    small_text(draw, at, colour, text, align);
}

void CloudCanvas::set(std::vector<Vec3> places, std::vector<CloudPoint> points, std::vector<CloudLine> lines,
                      bool other) {
    // A growing path keeps the view that the user has chosen; otherwise it is kept in sight.
    if (other || (!moved_ && places != places_)) fit_ = true;
    places_ = std::move(places);
    cloud_.set(std::move(points), std::move(lines));
}

void CloudCanvas::set_flat(bool flat) {
    if (flat != camera_.flat) fit_ = true;
    camera_.flat = flat;
}

void CloudCanvas::fit(float aspect) {
    bounds_ = everything_ ? bounds_of(places_) : central_bounds(places_, outside_);
    if (everything_) outside_ = 0;
    camera_ = fit_camera(camera_, bounds_, aspect);
    fit_ = false, moved_ = false, fitted_aspect_ = aspect;
}

std::function<CloudCamera(float aspect)> CloudCanvas::cameras() const {
    return [camera = camera_, bounds = bounds_, moved = moved_, shape = aspect()](float aspect) {
        if (!moved) return fit_camera(camera, bounds, aspect);
        CloudCamera other = camera;
        other.extent *= std::max(1.0f, shape / aspect);
        return other;
    };
}

void CloudCanvas::zoom(float wheel) {
    const float factor = std::pow(0.86f, wheel);
    const ImVec2 mouse = ImGui::GetMousePos();
    if (camera_.flat) {  // what is under the mouse stays there
        const float height = high_.y - low_.y, width = high_.x - low_.x;
        const float x = (2 * (mouse.x - low_.x) / width - 1) * camera_.extent * aspect();
        const float y = (1 - 2 * (mouse.y - low_.y) / height) * camera_.extent;
        camera_.centre[0] += x * (1 - factor), camera_.centre[1] += y * (1 - factor);
    }
    camera_.extent = std::clamp(camera_.extent * factor, 1e-4f, 1e7f);
    moved_ = true;
}

void CloudCanvas::navigate(Mouse mouse) {
    const ImGuiIO& io = ImGui::GetIO();
    if (mouse.wheel) ImGui::SetItemKeyOwner(ImGuiKey_MouseWheelY);
    if (mouse.wheel && ImGui::IsItemHovered() && io.MouseWheel != 0) zoom(io.MouseWheel);
    if (ImGui::IsItemActivated()) dragged_ = 0;
    if (!ImGui::IsItemActive() || (io.MouseDelta.x == 0 && io.MouseDelta.y == 0)) return;
    dragged_ += std::fabs(io.MouseDelta.x) + std::fabs(io.MouseDelta.y);
    if (dragged_ < kClickSlack) return;
    const bool other_button = ImGui::IsMouseDown(ImGuiMouseButton_Right) || ImGui::IsMouseDown(ImGuiMouseButton_Middle);
    if (!mouse.left_drags && !other_button) return;
    if (camera_.flat || other_button || io.KeyShift) {
        const float unit = 2 * camera_.extent / (high_.y - low_.y);
        const Vec3 right = camera_.right(), up = camera_.up();
        for (int k = 0; k < 3; ++k) camera_.centre[k] += unit * (-io.MouseDelta.x * right[k] + io.MouseDelta.y * up[k]);
    } else {
        camera_.yaw -= 0.008f * io.MouseDelta.x;
        camera_.pitch = std::clamp(camera_.pitch + 0.008f * io.MouseDelta.y, -1.55f, 1.55f);
    }
    moved_ = true;
}

int CloudCanvas::nearest() const {
    const ImVec2 mouse = ImGui::GetMousePos();
    int best = -1;
    float best_distance = kPick * kPick, best_w = FLT_MAX;
    for (size_t i = 0; i < places_.size(); ++i) {
        const Projected p = project(places_[i]);
        if (p.w <= 0) continue;
        const float dx = p.at.x - mouse.x, dy = p.at.y - mouse.y, distance = dx * dx + dy * dy;
        // Of two that are about as near to the mouse, the one in front.
        if (distance < best_distance - 4 || (distance < best_distance + 4 && distance < kPick * kPick && p.w < best_w))
            best = static_cast<int>(i), best_distance = distance, best_w = p.w;
    }
    return best;
}

void CloudCanvas::draw_flat_axes(const Axes& axes) const {
    auto* draw = ImGui::GetWindowDrawList();
    const float rx = camera_.extent * aspect(), ry = camera_.extent, pad = 0.3f * em();
    const bool numbers = axes.numbers && high_.y - low_.y > 9 * em();
    for (const auto& tick : ticks(camera_.centre[0] - rx, camera_.centre[0] + rx, 6)) {
        const ImVec2 at = project({tick.value, camera_.centre[1], 0}).at;
        if (numbers && at.x > low_.x + 3 * em() && at.x < high_.x - small_width(axes.names[0]) - 1.6f * em())
            halo_text(draw, {at.x, high_.y - small_height() - pad}, palette::text_dim, tick.text, 0.5f);
    }
    for (const auto& tick : ticks(camera_.centre[1] - ry, camera_.centre[1] + ry, 5)) {
        const ImVec2 at = project({camera_.centre[0], tick.value, 0}).at;
        if (numbers && at.y > low_.y + 1.6f * em() && at.y < high_.y - 2 * em())
            halo_text(draw, {low_.x + pad, at.y - small_height() / 2}, palette::text_dim, tick.text);
    }
    halo_text(draw, {high_.x - pad, high_.y - small_height() - pad}, palette::text, axes.names[0], 1);
    halo_text(draw, {low_.x + pad, low_.y + pad}, palette::text, axes.names[1]);
}

void CloudCanvas::draw_orbit_axes(const Axes& axes) const {
    const AxisEnds ends = axis_ends(bounds_);
    const Projected origin = project(ends.corner);
    if (origin.w <= 0) return;
    for (int k = 0; k < 3; ++k) {
        const Projected end = project(ends.ends[k]);
        if (end.w <= 0) continue;
        // Beyond the end of the axis, as it points on screen.
        const float half = small_width(axes.names[k]) / 2, dx = end.at.x - origin.at.x, dy = end.at.y - origin.at.y;
        const float length = std::max(1.0f, std::sqrt(dx * dx + dy * dy));
        const float x = end.at.x + dx / length * (half + 4),
                    y = end.at.y + dy / length * 0.9f * em() - small_height() / 2;
        const ImVec2 at = {std::clamp(x, low_.x + half + 4, std::max(low_.x + half + 4, high_.x - half - 4)),
                           std::clamp(y, low_.y + 4, high_.y - small_height() - 4)};
        halo_text(ImGui::GetWindowDrawList(), at, palette::text, axes.names[k], 0.5f);
    }
}

void CloudCanvas::draw_axes(const Axes& axes) const { camera_.flat ? draw_flat_axes(axes) : draw_orbit_axes(axes); }

void CloudCanvas::draw_outside_note() {
    if (outside_ == 0) return;
    const std::string label =
        std::to_string(outside_) + (outside_ == 1 ? " outlier is" : " outliers are") + " outside: show all";
    const float room = high_.x - low_.x - 0.8f * em();
    const std::string brief = "+" + std::to_string(outside_);
    const std::string& shown = button_width(label.c_str()) < room ? label : brief;
    ImGui::SetCursorScreenPos({high_.x - button_width(shown.c_str()) - 0.4f * em(), low_.y + 0.4f * em()});
    if (ImGui::SmallButton((shown + "###outside").c_str())) everything_ = true, fit_ = true;
    tooltip(
        "The view leaves out points far from the rest, such as the first token of a prompt, which would squeeze the "
        "others together.");
}

void CloudCanvas::begin(const char* id, ImVec2 size, const Axes& axes, Mouse mouse) {
    low_ = ImGui::GetCursorScreenPos();
    size = {std::floor(std::max(size.x, 4 * em())), std::floor(std::max(size.y, 4 * em()))};
    high_ = {low_.x + size.x, low_.y + size.y};
    ImGui::PushID(id);
    ImGui::SetNextItemAllowOverlap();
    ImGui::InvisibleButton(
        "canvas", size,
        ImGuiButtonFlags_MouseButtonLeft | ImGuiButtonFlags_MouseButtonRight | ImGuiButtonFlags_MouseButtonMiddle);
    hovered_ = ImGui::IsItemHovered(), active_ = ImGui::IsItemActive();
    clicked_ = ImGui::IsItemDeactivated() && hovered_ && dragged_ < kClickSlack &&
               ImGui::IsMouseReleased(ImGuiMouseButton_Left);
    const bool dragging = active_ && dragged_ >= kClickSlack;
    navigate(mouse);
    // A panel that takes another shape shows the same, unless the user has chosen what.
    if (fit_ || (!moved_ && fitted_aspect_ != aspect())) fit(aspect());
    cloud_.set_frame(frame_lines(camera_, bounds_, aspect()));
    matrix_ = camera_.matrix(aspect());
    const float scale = ImGui::GetIO().DisplayFramebufferScale.x > 0 ? ImGui::GetIO().DisplayFramebufferScale.x : 1;
    const ImTextureID picture = cloud_.render(camera_, static_cast<int>(size.x * scale),
                                              static_cast<int>(size.y * scale), palette::background, scale);
    auto* draw = ImGui::GetWindowDrawList();
    draw->PushClipRect(low_, high_, true);
    if (picture != ImTextureID_Invalid)
        draw->AddImage(picture, low_, high_, {0, 1}, {1, 0});
    else
        small_text(draw, {low_.x + em(), low_.y + 2 * em()}, palette::warning,
                   "The cloud cannot be drawn: " + (cloud_.error().empty() ? "no OpenGL context." : cloud_.error()));
    draw_axes(axes);
    under_mouse_ = hovered_ && !dragging ? nearest() : -1;
}

void CloudCanvas::end() {
    auto* draw = ImGui::GetWindowDrawList();
    draw->PopClipRect();
    draw->AddRect(low_, high_, palette::border, 2);
    const ImVec2 after = ImGui::GetCursorScreenPos();
    draw_outside_note();
    ImGui::SetCursorScreenPos(after);
    ImGui::Dummy({0, 0});
    ImGui::PopID();
}

}  // namespace savepoint::views
