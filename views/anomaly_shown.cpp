#include "views/anomaly_shown.h"

#include <imgui.h>

#include <algorithm>
#include <cmath>
#include <string>

#include "views/chart.h"
#include "views/palette.h"
#include "views/widgets.h"

namespace savepoint::views {

const std::vector<float>& AnomalyShown::values(const AnomalyView& view) const {
    if (kept(view)) return measure == 0 ? view.pruned_percentile : view.pruned_distance;
    return measure == 0 ? view.percentile : view.distance;
}

ImU32 AnomalyShown::colour(float value) const {
    if (std::isnan(value)) return sequential(NAN);
    return measure == 0 ? anomaly_colour(value) : sequential((value - 0.5f) / 1.5f);
}

float value_at(const std::vector<float>& values, const AnomalyView& view, int64_t token, int64_t layer, int64_t head) {
    const size_t at = static_cast<size_t>((token * view.layers + layer) * view.heads + head);
    return token < view.scored && at < values.size() ? values[at] : NAN;
}

const TokenView* token_at(const Snapshot& snapshot, int64_t position) {
    if (snapshot.path == nullptr || position < 0 || position >= static_cast<int64_t>(snapshot.path->tokens.size()))
        return nullptr;
    return snapshot.path->tokens[position].get();
}

int64_t group_of_layer(const SidecarView& sidecar, int64_t layer) {
    for (size_t g = 0; g < sidecar.groups.size(); ++g)
        if (layer >= sidecar.groups[g].first_block && layer <= sidecar.groups[g].last_block)
            return static_cast<int64_t>(g);
    return -1;
}

float anomaly_left_margin() { return std::max(small_width("100"), small_width("token")) + 0.7f * em(); }

void axis_title(ImDrawList* draw, ImVec2 at, const char* text) { small_text(draw, at, palette::text_dim, text); }

void mark_tokens(const Frame& frame, const TokenAxis& axis, float top, float bottom) {
    auto* draw = ImGui::GetWindowDrawList();
    const auto mark = [&](int64_t token, ImU32 colour, float thickness) {
        if (token < axis.first() || token >= axis.end()) return;
        const float x = std::round(axis.x_of(static_cast<double>(token) + 0.5));
        draw->AddLine({x, top}, {x, bottom}, colour, thickness);
    };
    for (const TokenRef& ref : frame.ui.selection.tokens())  // short, so that many leave the cells to be seen
        if (find_token(frame.snapshot, ref) != nullptr && ref.position >= axis.first() && ref.position < axis.end()) {
            const float x = std::round(axis.x_of(static_cast<double>(ref.position) + 0.5));
            draw->AddLine({x, top}, {x, top + 0.4f * em()}, palette::accent, 2);
        }
    if (find_token(frame.snapshot, frame.ui.hovered) != nullptr)
        mark(frame.ui.hovered.position, with_alpha(palette::text, 0.5f), 1);
    if (find_token(frame.snapshot, frame.snapshot.selected) != nullptr)
        mark(frame.snapshot.selected.position, palette::accent, 1.5f);
}

}  // namespace savepoint::views
