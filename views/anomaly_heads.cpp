#include "views/anomaly_heads.h"

#include <imgui.h>

#include <algorithm>
#include <cmath>
#include <string>

#include "views/palette.h"
#include "views/widgets.h"

namespace savepoint::views {
namespace {

// The selected token's position in the scored path; -1 when it is not there.
int64_t selected_token(const Snapshot& snapshot) {
    const TokenView* token = find_token(snapshot, snapshot.selected);
    const bool same_path = token != nullptr && snapshot.anomaly->thought == snapshot.path->thought;
    return same_path && token->position < snapshot.anomaly->scored ? token->position : -1;
}

}  // namespace

void AnomalyHeads::focus(Frame& frame, int64_t layer) {
    picked_layer_ = layer;
    const int64_t group = group_of_layer(*frame.snapshot.sidecar, layer);
    if (group >= 0) frame.ui.focus_group = group;
}

void AnomalyHeads::input(Frame& frame, const Grid& grid, int64_t token) {
    int64_t layer = 0, head = 0;
    if (!ImGui::IsItemHovered() || !grid.locate(ImGui::GetMousePos(), layer, head)) return;
    const AnomalyView& view = *frame.snapshot.anomaly;
    outline_cells(ImGui::GetWindowDrawList(), grid, layer, head, 1, 1, palette::text);
    const int64_t group = group_of_layer(*frame.snapshot.sidecar, layer);
    if (ImGui::BeginTooltip()) {
        ImGui::Text("layer %d, %s %d", static_cast<int>(layer), is_read_out(view.choice.form) ? "head" : "KV head",
                    static_cast<int>(head));
        ImGui::Text("percentile  %s", format_number(value_at(view.percentile, view, token, layer, head)).c_str());
        if (token < view.pruned_scored)
            ImGui::Text("of the part kept  %s",
                        format_number(value_at(view.pruned_percentile, view, token, layer, head)).c_str());
        ImGui::Text("distance  %s (1 is typical)",
                    format_number(value_at(view.distance, view, token, layer, head)).c_str());
        if (group >= 0)
            ImGui::TextDisabled("click: %s in the latent editor", frame.snapshot.sidecar->groups[group].label.c_str());
        ImGui::EndTooltip();
    }
    if (ImGui::IsItemClicked()) focus(frame, layer);
}

void AnomalyHeads::draw(Frame& frame, const AnomalyShown& shown, float height) {
    const AnomalyView& view = *frame.snapshot.anomaly;
    const int64_t token = selected_token(frame.snapshot);
    const ImVec2 at = ImGui::GetCursorScreenPos(), room = ImGui::GetContentRegionAvail();
    const float line = small_height() + 3;
    Grid grid{
        {at.x + anomaly_left_margin(), at.y + line}, {at.x + room.x, at.y + height - line}, view.layers, view.heads};
    auto* draw = ImGui::GetWindowDrawList();
    ImGui::InvisibleButton("heads", {room.x, height});
    axis_title(draw, at, is_read_out(view.choice.form) ? "head" : "KV head");
    axis_title(draw, {at.x, grid.max.y + 2}, "layer");
    if (token < 0) {
        draw->AddRectFilled(grid.min, grid.max, palette::raised, 3);
        small_text(draw, {(grid.min.x + grid.max.x) / 2, (grid.min.y + grid.max.y - small_height()) / 2},
                   palette::text_dim, "Click a token in the transcript or on the line below.", 0.5f);
        return;
    }
    const auto& values = shown.values(view);
    draw_cells(draw, grid,
               [&](int64_t layer, int64_t head) { return shown.colour(value_at(values, view, token, layer, head)); });
    row_labels(draw, grid);
    column_labels(draw, grid);
    const int64_t group = picked_layer_ >= 0 ? group_of_layer(*frame.snapshot.sidecar, picked_layer_) : -1;
    if (group >= 0) {
        const auto& blocks = frame.snapshot.sidecar->groups[group];
        outline_cells(draw, grid, blocks.first_block, 0, blocks.last_block - blocks.first_block + 1, view.heads,
                      palette::accent);
    }
    if (const TokenView* text = token_at(frame.snapshot, token)) {
        const std::string name = "\"" + visible(text->text) + "\" at position " + std::to_string(token);
        small_text(draw, {grid.max.x, at.y}, palette::text, name, 1);
    }
    input(frame, grid, token);
}

}  // namespace savepoint::views
