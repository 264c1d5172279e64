#include "views/token_axis.h"

#include <algorithm>
#include <cmath>
#include <string>

#include "views/chart.h"
#include "views/palette.h"

namespace savepoint::views {

void TokenAxis::set_count(int64_t tokens) {
    count_ = std::max<int64_t>(1, tokens);
    if (whole_) reset();
    clamp();
}

void TokenAxis::clamp() {
    const double count = static_cast<double>(count_), least = std::min(8.0, count);
    const double width = std::clamp(last_ - first_, least, count);
    first_ = std::clamp(first_, 0.0, count - width);
    last_ = first_ + width;
    whole_ = width >= count;
}

void TokenAxis::navigate() {
    ImGui::SetItemKeyOwner(ImGuiKey_MouseWheelY);
    if (!ImGui::IsItemHovered() && !ImGui::IsItemActive()) return;
    const ImGuiIO& io = ImGui::GetIO();
    const double per_pixel = (last_ - first_) / std::max(1.0f, right_ - left_);
    if (ImGui::IsItemHovered() && io.MouseWheel != 0) {
        const double under = first_ + (io.MousePos.x - left_) * per_pixel, factor = std::pow(0.8, io.MouseWheel);
        first_ = under - (under - first_) * factor, last_ = under + (last_ - under) * factor;
    }
    const bool pan = ImGui::IsMouseDown(ImGuiMouseButton_Right) || ImGui::IsMouseDown(ImGuiMouseButton_Middle);
    if (ImGui::IsItemActive() && pan) first_ -= io.MouseDelta.x * per_pixel, last_ -= io.MouseDelta.x * per_pixel;
    if (ImGui::IsMouseDoubleClicked(ImGuiMouseButton_Right) || ImGui::IsMouseDoubleClicked(ImGuiMouseButton_Middle))
        reset();
    clamp();
}

float TokenAxis::x_of(double token) const {
    return left_ + static_cast<float>((token - first_) / (last_ - first_)) * (right_ - left_);
}

int64_t TokenAxis::token_at(float x) const {
    if (x < left_ || x >= right_) return -1;
    const auto token = static_cast<int64_t>(std::floor(first_ + (x - left_) / (right_ - left_) * (last_ - first_)));
    return token >= 0 && token < count_ ? token : -1;
}

int64_t TokenAxis::first() const { return static_cast<int64_t>(std::floor(first_)); }
int64_t TokenAxis::end() const { return std::min(count_, static_cast<int64_t>(std::ceil(last_))); }
int64_t TokenAxis::bin() const {
    return std::max<int64_t>(1, static_cast<int64_t>(std::ceil(2 / std::max(1e-6f, slot()))));
}

void TokenAxis::draw_labels(ImDrawList* draw, float y) const {
    const float needed = small_width(std::to_string(end())) + 1.2f * em();
    const int64_t step = label_step(end() - first(), right_ - left_, needed);
    for (int64_t token = (first() + step - 1) / step * step; token < end(); token += step) {
        const float x = x_of(static_cast<double>(token) + 0.5);
        if (x >= left_ && x <= right_) small_text(draw, {x, y}, palette::text_dim, std::to_string(token), 0.5f);
    }
}

}  // namespace savepoint::views
