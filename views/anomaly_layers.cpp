#include "views/anomaly_layers.h"

#include <imgui.h>

#include <algorithm>
#include <cmath>
#include <string>

#include "views/palette.h"
#include "views/widgets.h"

namespace savepoint::views {

// Only new tokens are added up: a path of thousands grows by one token many times a second.
bool AnomalyLayers::average_heads(const AnomalyView& view, const AnomalyShown& shown) {
    const Pruning pruning = shown.kept(view) ? view.pruning : Pruning();
    const bool same = view.thought == means_thought_ && view.choice == means_choice_ && pruning == means_pruning_ &&
                      shown.measure == means_measure_ && shown.scored(view) >= means_scored_;
    if (same && shown.scored(view) == means_scored_) return false;
    if (!same) means_scored_ = 0;
    means_thought_ = view.thought, means_choice_ = view.choice, means_pruning_ = pruning,
    means_measure_ = shown.measure;
    means_.resize(static_cast<size_t>(shown.scored(view) * view.layers));
    const auto& values = shown.values(view);
    for (int64_t token = means_scored_; token < shown.scored(view); ++token)
        for (int64_t layer = 0; layer < view.layers; ++layer) {
            float sum = 0;
            for (int64_t head = 0; head < view.heads; ++head) sum += value_at(values, view, token, layer, head);
            means_[token * view.layers + layer] = sum / static_cast<float>(view.heads);
        }
    means_scored_ = shown.scored(view);
    return true;
}

void AnomalyLayers::colour_cells(const AnomalyView& view, const AnomalyShown& shown, int64_t start, int64_t end,
                                 int64_t bin) {
    cells_start_ = start, cells_end_ = end, cells_bin_ = bin;
    const int64_t columns = (end - start + bin - 1) / bin;
    cells_.resize(static_cast<size_t>(columns * view.layers));
    for (int64_t column = 0; column < columns; ++column)
        for (int64_t layer = 0; layer < view.layers; ++layer) {
            float most = NAN;
            for (int64_t token = start + column * bin; token < std::min(end, start + (column + 1) * bin); ++token)
                most = std::fmax(most, means_[token * view.layers + layer]);
            cells_[column * view.layers + layer] = shown.colour(most);
        }
}

void AnomalyLayers::input(Frame& frame, const AnomalyShown& shown, const Grid& grid, const TokenAxis& axis,
                          AnomalyHeads& heads) {
    int64_t unused = 0, layer = 0;
    const ImVec2 mouse = ImGui::GetMousePos();
    if (!ImGui::IsItemHovered() || !grid.locate(mouse, unused, layer)) return;
    const int64_t token = axis.token_at(mouse.x);
    if (token < 0 || token >= means_scored_) return;
    const TokenView* text = token_at(frame.snapshot, token);
    if (text != nullptr) frame.ui.hovering = {text->thought, token};
    if (ImGui::BeginTooltip()) {
        ImGui::Text("layer %d, position %d%s", static_cast<int>(layer), static_cast<int>(token),
                    text != nullptr ? (" \"" + visible(text->text) + "\"").c_str() : "");
        ImGui::Text("%s, mean over heads  %s", shown.measure == 0 ? "percentile" : "distance",
                    format_number(means_[token * frame.snapshot.anomaly->layers + layer]).c_str());
        ImGui::TextDisabled("click: select the token and show the layer's group");
        ImGui::EndTooltip();
    }
    if (!ImGui::IsItemClicked()) return;
    heads.focus(frame, layer);
    if (text != nullptr) frame.submit(command::Select{{text->thought, token}});
}

void AnomalyLayers::draw(Frame& frame, const AnomalyShown& shown, TokenAxis& axis, AnomalyHeads& heads, float height) {
    const AnomalyView& view = *frame.snapshot.anomaly;
    const bool fresh = average_heads(view, shown);
    const ImVec2 at = ImGui::GetCursorScreenPos(), room = ImGui::GetContentRegionAvail();
    const float line = small_height() + 3;
    ImGui::InvisibleButton(
        "layers", {room.x, height},
        ImGuiButtonFlags_MouseButtonLeft | ImGuiButtonFlags_MouseButtonRight | ImGuiButtonFlags_MouseButtonMiddle);
    Grid frame_grid{{at.x + anomaly_left_margin(), at.y + line}, {at.x + room.x, at.y + height}, 1, view.layers, true};
    axis.place(frame_grid.min.x, frame_grid.max.x);
    axis.navigate();
    auto* draw = ImGui::GetWindowDrawList();
    axis_title(draw, at, "layer");
    small_text(draw, {frame_grid.max.x, at.y}, palette::text_dim,
               axis.bin() > 1 ? "largest of each column's tokens" : "mean over heads", 1);
    row_labels(draw, frame_grid);
    draw->PushClipRect(frame_grid.min, frame_grid.max, true);
    draw->AddRectFilled(frame_grid.min, frame_grid.max, palette::background);
    const int64_t bin = axis.bin(), start = axis.first() / bin * bin, end = std::min(axis.end(), means_scored_);
    if (end > start) {
        const int64_t columns = (end - start + bin - 1) / bin;
        Grid cells{{axis.x_of(static_cast<double>(start)), frame_grid.min.y},
                   {axis.x_of(static_cast<double>(start + columns * bin)), frame_grid.max.y},
                   columns,
                   view.layers,
                   true};
        if (fresh || start != cells_start_ || end != cells_end_ || bin != cells_bin_)
            colour_cells(view, shown, start, end, bin);
        draw_cells(draw, cells, [&](int64_t column, int64_t layer) { return cells_[column * view.layers + layer]; });
    }
    draw->PopClipRect();
    mark_tokens(frame, axis, frame_grid.min.y, frame_grid.max.y);
    input(frame, shown, frame_grid, axis, heads);
}

}  // namespace savepoint::views
