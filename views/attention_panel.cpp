#include "views/attention_panel.h"

#include <imgui.h>

#include <algorithm>
#include <cmath>
#include <cstdio>

#include "views/palette.h"
#include "views/run_pair.h"
#include "views/widgets.h"

namespace savepoint::views {
namespace {

constexpr const char* kWeightTip =
    "Attention weight: softmax(q k / sqrt(head_dim)) of the selected token over all tokens up to it. The weights of a "
    "head "
    "sum to 100 %.";

ImU32 weight_colour(float weight) { return sequential(std::sqrt(std::clamp(weight, 0.0f, 1.0f))); }

}  // namespace

const float* AttentionPanel::weights(const AttentionView& view, int64_t layer, int64_t head) const {
    return view.weight.data() + (layer * view.heads + head) * view.tokens;
}

// The workbench computes it for the token that is looked at, when somebody looks.
void AttentionPanel::ask(Frame& frame) {
    const TokenView* token = find_token(frame.snapshot, frame.snapshot.selected);
    if (!token || frame.snapshot.status.generating) return;
    const TokenRef wanted{token->thought, token->position};
    const auto& view = frame.snapshot.attention;
    if ((view && view->token == wanted) || asked_ == wanted) return;
    asked_ = wanted;
    frame.submit(command::ShowAttention{wanted});
}

void AttentionPanel::draw_multiples(const AttentionView& view, ImVec2 size) {
    const ImVec2 at = ImGui::GetCursorScreenPos();
    const float line = small_height() + 3, left = small_width("layer") + 0.5f * em();
    ImGui::InvisibleButton("heads", size);
    auto* draw = ImGui::GetWindowDrawList();
    const Grid grid{{at.x + left, at.y + line}, {at.x + size.x, at.y + size.y - line}, view.heads, view.layers, true};
    small_text(draw, at, palette::text_dim, "layer");
    small_text(draw, {at.x, grid.max.y + 2}, palette::text_dim, "head");
    row_labels(draw, grid);
    column_labels(draw, grid);
    draw->AddRectFilled(grid.min, grid.max, palette::border);
    const ImVec2 cell = grid.cell_size();
    const int64_t first = without_first_ && view.tokens > 1 ? 1 : 0, shown = view.tokens - first;
    for (int64_t layer = 0; layer < view.layers; ++layer)
        for (int64_t head = 0; head < view.heads; ++head) {
            const ImVec2 low = grid.cell_min(head, layer);
            const ImVec2 from{std::round(low.x) + 1, std::round(low.y) + 1},
                to{std::round(low.x + cell.x), std::round(low.y + cell.y)};
            draw->AddRectFilled(from, to, weight_colour(0));
            const float* row = weights(view, layer, head);
            // Tokens that share a pixel show the largest of them.
            const auto columns =
                static_cast<int64_t>(std::max(1.0f, std::min<float>(static_cast<float>(shown), to.x - from.x)));
            for (int64_t c = 0; c < columns; ++c) {
                const int64_t begin = first + c * shown / columns,
                              end = first + std::max((c + 1) * shown / columns, c * shown / columns + 1);
                const float most = *std::max_element(row + begin, row + std::min(end, view.tokens));
                if (most < 0.004f) continue;
                const float width = (to.x - from.x) / static_cast<float>(columns);
                draw->AddRectFilled({from.x + width * static_cast<float>(c), from.y},
                                    {from.x + width * static_cast<float>(c + 1), to.y}, weight_colour(most));
            }
        }
    outline_cells(draw, grid, head_, layer_, 1, 1, palette::accent, 2);
    int64_t head = 0, layer = 0;
    if (!ImGui::IsItemHovered() || !grid.locate(ImGui::GetMousePos(), head, layer)) return;
    outline_cells(draw, grid, head, layer, 1, 1, palette::text);
    if (ImGui::IsItemClicked()) head_ = head, layer_ = layer;
    if (!ImGui::BeginTooltip()) return;
    ImGui::Text("layer %d, head %d looks at", static_cast<int>(layer), static_cast<int>(head));
    const float* row = weights(view, layer, head);
    std::vector<int64_t> order(static_cast<size_t>(view.tokens));
    for (size_t i = 0; i < order.size(); ++i) order[i] = static_cast<int64_t>(i);
    const auto most = static_cast<ptrdiff_t>(std::min<size_t>(4, order.size()));
    std::partial_sort(order.begin(), order.begin() + most, order.end(),
                      [&](int64_t x, int64_t y) { return row[x] > row[y]; });
    for (ptrdiff_t i = 0; i < most; ++i)
        ImGui::Text("%5.1f %%  %s at %d", 100 * row[order[static_cast<size_t>(i)]],
                    quoted_token(view.text[static_cast<size_t>(order[static_cast<size_t>(i)])]).c_str(),
                    static_cast<int>(order[static_cast<size_t>(i)]));
    ImGui::TextDisabled("click: show this head below");
    ImGui::EndTooltip();
}

void AttentionPanel::draw_head(Frame& frame, const AttentionView& view, ImVec2 size) {
    const ImVec2 at = ImGui::GetCursorScreenPos();
    const float line = small_height() + 3, left = small_width("100 %") + 0.5f * em();
    ImGui::InvisibleButton("one head", size);
    auto* draw = ImGui::GetWindowDrawList();
    const Grid grid{{at.x + left, at.y + line}, {at.x + size.x, at.y + size.y - line}, view.tokens, 1};
    draw->AddRectFilled(grid.min, grid.max, palette::background, 2);
    small_text(draw, at, palette::text_dim,
               "layer " + std::to_string(layer_) + ", head " + std::to_string(head_) + ": weight on each token");
    const float* row = weights(view, layer_, head_);
    float most = 0.02f;
    for (int64_t i = without_first_ && view.tokens > 1 ? 1 : 0; i < view.tokens; ++i) most = std::max(most, row[i]);
    char text[24];
    for (const float part : {0.0f, 1.0f}) {
        std::snprintf(text, sizeof text, "%.0f %%", 100 * most * part);
        const float y = grid.max.y - part * (grid.max.y - grid.min.y);
        draw->AddLine({grid.min.x, y}, {grid.max.x, y}, with_alpha(palette::border, 0.7f));
        small_text(draw, {grid.min.x - 0.35f * em(), y - small_height() / 2}, palette::text_dim, text, 1);
    }
    const float slot = grid.cell_size().x;
    for (int64_t i = 0; i < view.tokens; ++i) {
        const float x = grid.cell_min(i, 0).x, share = std::min(1.0f, row[i] / most);
        draw->AddRectFilled({x, grid.max.y - share * (grid.max.y - grid.min.y)},
                            {x + std::max(1.0f, slot - 1), grid.max.y}, weight_colour(std::max(0.1f, row[i])));
        // A bar that is cut off says so.
        if (row[i] > most)
            draw->AddRectFilled({x, grid.min.y}, {x + std::max(1.0f, slot - 1), grid.min.y + 3}, palette::warning);
        if (slot < 2.2f * em()) continue;
        draw->PushClipRect({x, grid.max.y}, {x + slot - 2, grid.max.y + line}, true);
        small_text(draw, {x + 1, grid.max.y + 2}, palette::text, drawable(visible(view.text[static_cast<size_t>(i)])));
        draw->PopClipRect();
    }
    if (slot < 2.2f * em()) column_labels(draw, grid);
    int64_t token = 0, unused = 0;
    if (!ImGui::IsItemHovered() || !grid.locate(ImGui::GetMousePos(), token, unused)) return;
    const auto i = static_cast<size_t>(token);
    frame.ui.hovering = {view.owner[i], token};
    if (ImGui::BeginTooltip()) {
        ImGui::Text("%s at %d: %.2f %%", quoted_token(view.text[i]).c_str(), static_cast<int>(token), 100 * row[token]);
        ImGui::TextDisabled("click: select this token");
        ImGui::EndTooltip();
    }
    if (ImGui::IsItemClicked()) frame.submit(command::Select{{view.owner[i], token}});
}

void AttentionPanel::draw(Frame& frame) {
    ask(frame);
    const auto& view = frame.snapshot.attention;
    if (!view) {
        empty_state("No token selected",
                    "Click a token in the transcript: what each of its heads looks at appears here.");
        return;
    }
    layer_ = std::clamp<int64_t>(layer_, 0, view->layers - 1);
    head_ = std::clamp<int64_t>(head_, 0, view->heads - 1);
    const std::string name = quoted_token(view->text.back()) + " at " + std::to_string(view->token.position);
    ImGui::AlignTextToFramePadding();
    ImGui::TextUnformatted(name.c_str());
    tooltip("The token whose attention is shown: the selected one.");
    flow(12 * em());
    ImGui::Checkbox("without the first token", &without_first_);
    tooltip(
        "The first token is an attention sink: most heads put most of their weight there, which hides the rest. Its "
        "bar "
        "below is cut off, and the small pictures leave it out.");
    flow(13 * em());
    legend_in_row(
        "weight", "0", "100 %", [](float t) { return sequential(t); }, kWeightTip);
    const ImVec2 room = ImGui::GetContentRegionAvail();
    const float below = std::clamp(0.28f * room.y, 5 * em(), 10 * em());
    draw_multiples(*view, {room.x, std::max(8 * em(), room.y - below - ImGui::GetStyle().ItemSpacing.y)});
    draw_head(frame, *view, {room.x, below});
}

}  // namespace savepoint::views
