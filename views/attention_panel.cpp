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
    "head sum to 100 %.";

ImU32 weight_colour(float weight) { return sequential(std::sqrt(std::clamp(weight, 0.0f, 1.0f))); }

}  // namespace

std::string AttentionPanel::Shown::shown(float v) const {
    return fraction ? formatted(v < 0.0995f ? "%.2f %%" : "%.1f %%", 100.0 * v) : format_number(v) + " queries";
}

std::string AttentionPanel::Shown::name(int64_t token) const {
    return quoted_token(text[static_cast<size_t>(token)]) + " at " + std::to_string(token);
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

bool AttentionPanel::look_at(Frame& frame, Shown& shown) {
    ask(frame);
    const auto& view = frame.snapshot.attention;
    if (!view) {
        empty_state("No token selected",
                    "Click a token in the transcript: what each of its heads looks at appears here.");
        return false;
    }
    shown.layers = view->layers, shown.heads = view->heads, shown.tokens = view->tokens;
    shown.value = view->weight.data();
    shown.text = view->text, shown.owner = view->owner;
    shown.fraction = true;
    return true;
}

void AttentionPanel::take(const AttentionMassView& view) {
    values_ = view.mass;
    mean_ = view.mean;
    if (!per_later_) return;
    for (size_t i = 0; i < values_.size() + mean_.size(); ++i) {
        float& value = i < values_.size() ? values_[i] : mean_[i - values_.size()];
        const auto later = static_cast<float>(view.tokens - 1 - static_cast<int64_t>(i) % view.tokens);
        value = later > 0 ? value / later : 0;
    }
}

bool AttentionPanel::add_up(Frame& frame, Shown& shown) {
    frame.ui.wants_attention_mass = true;
    const auto& view = frame.snapshot.attention_mass;
    const PathView* path = frame.snapshot.path.get();
    const bool tokens = path && !path->tokens.empty();
    if (!tokens || !view || view->thought != path->thought ||
        view->tokens > static_cast<int64_t>(path->tokens.size())) {
        empty_state(tokens ? "Adding up attention" : "No tokens yet",
                    tokens ? "What each token has received from later ones appears as it is added up."
                           : "Generate from a prompt: how much attention each token receives appears here.");
        return false;
    }
    if (taken_ != view || taken_per_later_ != per_later_) {
        taken_ = view, taken_per_later_ = per_later_;
        take(*view);
    }
    shown.layers = view->layers, shown.heads = view->heads, shown.tokens = view->tokens;
    shown.value = values_.data();
    for (int64_t i = 0; i < shown.tokens; ++i) {
        const TokenView& token = *path->tokens[static_cast<size_t>(i)];
        shown.text.push_back(token.text), shown.owner.push_back(token.thought);
    }
    shown.fraction = per_later_;
    shown.most = 1e-6f;
    for (int64_t i = 0; i < shown.layers * shown.heads; ++i)
        for (int64_t t = first(shown); t < shown.tokens; ++t)
            shown.most = std::max(shown.most, shown.value[i * shown.tokens + t]);
    return true;
}

void AttentionPanel::draw_multiples(const Shown& shown, ImVec2 size) {
    const ImVec2 at = ImGui::GetCursorScreenPos();
    const float line = small_height() + 3, left = small_width("layer") + 0.5f * em();
    ImGui::InvisibleButton("heads", size);
    auto* draw = ImGui::GetWindowDrawList();
    const Grid grid{{at.x + left, at.y + line}, {at.x + size.x, at.y + size.y - line}, shown.heads, shown.layers, true};
    small_text(draw, at, palette::text_dim, "layer");
    small_text(draw, {at.x, grid.max.y + 2}, palette::text_dim, "head");
    row_labels(draw, grid);
    column_labels(draw, grid);
    draw->AddRectFilled(grid.min, grid.max, palette::border);
    const ImVec2 cell = grid.cell_size();
    const int64_t begin_at = first(shown), count = shown.tokens - begin_at;
    for (int64_t layer = 0; layer < shown.layers; ++layer)
        for (int64_t head = 0; head < shown.heads; ++head) {
            const ImVec2 low = grid.cell_min(head, layer);
            const ImVec2 from{std::round(low.x) + 1, std::round(low.y) + 1},
                to{std::round(low.x + cell.x), std::round(low.y + cell.y)};
            draw->AddRectFilled(from, to, weight_colour(0));
            const float* row = shown.of(layer, head);
            // Tokens that share a pixel show the largest of them.
            const auto columns =
                static_cast<int64_t>(std::max(1.0f, std::min<float>(static_cast<float>(count), to.x - from.x)));
            for (int64_t c = 0; c < columns; ++c) {
                const int64_t begin = begin_at + c * count / columns,
                              end = begin_at + std::max((c + 1) * count / columns, c * count / columns + 1);
                const float most = *std::max_element(row + begin, row + std::min(end, shown.tokens)) / shown.most;
                if (most < 0.004f) continue;
                const float width = (to.x - from.x) / static_cast<float>(columns);
                draw->AddRectFilled({from.x + width * static_cast<float>(c), from.y},
                                    {from.x + width * static_cast<float>(c + 1), to.y}, weight_colour(most));
            }
        }
    if (mode_ == 0 || !all_heads_) outline_cells(draw, grid, head_, layer_, 1, 1, palette::accent, 2);
    int64_t head = 0, layer = 0;
    if (!ImGui::IsItemHovered() || !grid.locate(ImGui::GetMousePos(), head, layer)) return;
    outline_cells(draw, grid, head, layer, 1, 1, palette::text);
    if (ImGui::IsItemClicked()) head_ = head, layer_ = layer, all_heads_ &= mode_ == 0;
    if (!ImGui::BeginTooltip()) return;
    ImGui::Text(mode_ == 0 ? "layer %d, head %d looks at" : "layer %d, head %d gave most to", static_cast<int>(layer),
                static_cast<int>(head));
    const float* row = shown.of(layer, head);
    std::vector<int64_t> order(static_cast<size_t>(shown.tokens));
    for (size_t i = 0; i < order.size(); ++i) order[i] = static_cast<int64_t>(i);
    const auto most = static_cast<ptrdiff_t>(std::min<size_t>(4, order.size()));
    std::partial_sort(order.begin(), order.begin() + most, order.end(),
                      [&](int64_t x, int64_t y) { return row[x] > row[y]; });
    for (ptrdiff_t i = 0; i < most; ++i) {
        const int64_t token = order[static_cast<size_t>(i)];
        ImGui::Text("%12s  %s", shown.shown(row[token]).c_str(), shown.name(token).c_str());
    }
    ImGui::TextDisabled("click: show this head below");
    ImGui::EndTooltip();
}

void AttentionPanel::draw_row(Frame& frame, const Shown& shown, ImVec2 size) {
    const ImVec2 at = ImGui::GetCursorScreenPos();
    const float line = small_height() + 3, left = small_width("0.0123 q") + 0.5f * em();
    ImGui::InvisibleButton("one head", size);
    auto* draw = ImGui::GetWindowDrawList();
    const Grid grid{{at.x + left, at.y + line}, {at.x + size.x, at.y + size.y - line}, shown.tokens, 1};
    draw->AddRectFilled(grid.min, grid.max, palette::background, 2);
    small_text(draw, at, palette::text_dim, shown.row_name);
    const float* row = shown.row;
    float most = shown.fraction && mode_ == 0 ? 0.02f : 1e-6f;
    for (int64_t i = first(shown); i < shown.tokens; ++i) most = std::max(most, row[i]);
    for (const float part : {0.0f, 1.0f}) {
        const std::string text =
            shown.fraction ? formatted("%.3g %%", 100.0 * most * part) : format_number(most * part);
        const float y = grid.max.y - part * (grid.max.y - grid.min.y);
        draw->AddLine({grid.min.x, y}, {grid.max.x, y}, with_alpha(palette::border, 0.7f));
        small_text(draw, {grid.min.x - 0.35f * em(), y - small_height() / 2}, palette::text_dim, text, 1);
    }
    const float slot = grid.cell_size().x;
    for (int64_t i = 0; i < shown.tokens; ++i) {
        const float x = grid.cell_min(i, 0).x, share = std::min(1.0f, row[i] / most);
        draw->AddRectFilled({x, grid.max.y - share * (grid.max.y - grid.min.y)},
                            {x + std::max(1.0f, slot - 1), grid.max.y},
                            weight_colour(std::max(0.1f, mode_ == 0 ? row[i] : share)));
        // A bar that is cut off says so.
        if (row[i] > most)
            draw->AddRectFilled({x, grid.min.y}, {x + std::max(1.0f, slot - 1), grid.min.y + 3}, palette::warning);
        if (slot < 2.2f * em()) continue;
        draw->PushClipRect({x, grid.max.y}, {x + slot - 2, grid.max.y + line}, true);
        small_text(draw, {x + 1, grid.max.y + 2}, palette::text, drawable(visible(shown.text[static_cast<size_t>(i)])));
        draw->PopClipRect();
    }
    if (slot < 2.2f * em()) column_labels(draw, grid);
    const TokenView* selected = find_token(frame.snapshot, frame.snapshot.selected);
    if (mode_ == 1 && selected && selected->position < shown.tokens) {
        const float x = grid.cell_min(selected->position, 0).x;
        draw->AddRect({x - 1, grid.min.y}, {x + std::max(2.0f, slot), grid.max.y}, palette::accent, 0, 1.5f);
    }
    for (int64_t i = 0; i < shown.tokens && !frame.ui.selection.empty(); ++i)
        if (frame.ui.selection.contains(shown.owner[static_cast<size_t>(i)], i)) {
            const float x = grid.cell_min(i, 0).x + slot / 2;
            draw->AddLine({x, grid.min.y}, {x, grid.min.y + 0.4f * em()}, palette::accent, 2);
        }
    int64_t position = 0, unused = 0;
    if (!ImGui::IsItemHovered() || !grid.locate(ImGui::GetMousePos(), position, unused)) return;
    const TokenRef token{shown.owner[static_cast<size_t>(position)], position};
    frame.ui.hovering = token;
    if (ImGui::BeginTooltip()) {
        ImGui::Text("%s: %s%s", shown.name(position).c_str(), shown.shown(row[position]).c_str(),
                    mode_ == 1 && shown.fraction ? " of each later token's attention" : "");
        ImGui::TextDisabled("click: select this token");
        ImGui::EndTooltip();
    }
    if (ImGui::IsItemClicked()) frame.submit(command::Select{token});
}

void AttentionPanel::draw_controls(Frame& frame) {
    static const std::string kModes[] = {"Looks at", "Received"};
    segmented("mode", kModes, mode_, 0, {},
              "Looks at: what each head of the selected token reads from. Received: how much attention each token of "
              "the path has had from the tokens after it.");
    flow(13 * em());
    ImGui::Checkbox("without the first token", &without_first_);
    tooltip(
        "The first token is an attention sink: most heads put most of their weight there, which hides the rest. Its "
        "bar below is cut off, and the small pictures leave it out.");
    if (mode_ == 0) {
        flow(13 * em());
        legend_in_row(
            "weight", "0", "100 %", [](float t) { return sequential(t); }, kWeightTip);
        return;
    }
    flow(2 * em());
    help_marker(kAttentionMassTip);
    flow(9 * em());
    ImGui::Checkbox("per later token", &per_later_);
    tooltip(
        "Divided by the number of tokens that came after: the mean share of a later token's attention. Else the sum, "
        "which favours early tokens.");
    flow(button_width("All heads"));
    ImGui::BeginDisabled(all_heads_);
    if (ImGui::Button("All heads")) all_heads_ = true;
    ImGui::EndDisabled();
    tooltip("The mean over layers and heads in the chart below; click a small picture for one head.");
    const auto& view = frame.snapshot.attention_mass;
    const auto all = frame.snapshot.path ? static_cast<int64_t>(frame.snapshot.path->tokens.size()) : 0;
    if (!view || view->tokens >= all) return;
    const std::string note = std::to_string(view->tokens) + " of " + std::to_string(all) + " tokens counted";
    flow(small_width(note));
    small_label(note, palette::warning);
}

void AttentionPanel::draw(Frame& frame) {
    draw_controls(frame);
    Shown shown;
    if (!(mode_ == 0 ? look_at(frame, shown) : add_up(frame, shown))) return;
    layer_ = std::clamp<int64_t>(layer_, 0, shown.layers - 1);
    head_ = std::clamp<int64_t>(head_, 0, shown.heads - 1);
    const std::string head = "layer " + std::to_string(layer_) + ", head " + std::to_string(head_);
    shown.row = shown.of(layer_, head_);
    if (mode_ == 0) {
        const auto& view = *frame.snapshot.attention;
        shown.row_name = head + ": weight of " + quoted_token(view.text.back()) + " at " +
                         std::to_string(view.token.position) + " on each token";
    } else {
        if (all_heads_) shown.row = mean_.data();
        shown.row_name = (all_heads_ ? "mean over layers and heads" : head) +
                         (per_later_ ? ": share of each later token's attention" : ": attention received, in queries");
    }
    const ImVec2 room = ImGui::GetContentRegionAvail();
    const float below = std::clamp(0.28f * room.y, 5 * em(), 10 * em());
    draw_multiples(shown, {room.x, std::max(8 * em(), room.y - below - ImGui::GetStyle().ItemSpacing.y)});
    draw_row(frame, shown, {room.x, below});
}

std::vector<std::pair<std::string, std::function<void(Frame&)>>> AttentionPanel::actions() {
    const auto mode = [this](int value) {
        return [this, value](Frame& frame) { mode_ = value, frame.ui.show_panel = title(); };
    };
    return {{"Show what the selected token looks at", mode(0)}, {"Show the attention that tokens received", mode(1)}};
}

}  // namespace savepoint::views
