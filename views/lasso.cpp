#include "views/lasso.h"

#include <algorithm>
#include <cmath>

#include "views/palette.h"

namespace savepoint::views {

bool Lasso::update(bool held) {
    if (!held) return drawing();
    const ImVec2 mouse = ImGui::GetMousePos();
    if (points_.empty()) low_ = high_ = mouse;
    if (points_.empty() || std::fabs(mouse.x - points_.back().x) + std::fabs(mouse.y - points_.back().y) > 2)
        points_.push_back(mouse);
    low_ = {std::min(low_.x, mouse.x), std::min(low_.y, mouse.y)};
    high_ = {std::max(high_.x, mouse.x), std::max(high_.y, mouse.y)};
    return false;
}

bool Lasso::is_click() const { return high_.x - low_.x < 4 && high_.y - low_.y < 4; }

bool Lasso::contains(ImVec2 p) const {
    if (p.x < low_.x || p.x > high_.x || p.y < low_.y || p.y > high_.y) return false;
    bool inside = false;
    for (size_t i = 0, j = points_.size() - 1; i < points_.size(); j = i++) {
        const ImVec2 a = points_[i], b = points_[j];
        if ((a.y > p.y) != (b.y > p.y) && p.x < (b.x - a.x) * (p.y - a.y) / (b.y - a.y) + a.x) inside = !inside;
    }
    return inside;
}

void Lasso::draw(ImDrawList* draw) const {
    if (points_.size() < 2) return;
    draw->AddConcavePolyFilled(points_.data(), static_cast<int>(points_.size()), with_alpha(palette::accent, 0.12f));
    draw->AddPolyline(points_.data(), static_cast<int>(points_.size()), palette::accent, 1.5f, ImDrawFlags_Closed);
}

}  // namespace savepoint::views
