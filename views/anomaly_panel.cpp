#include "views/anomaly_panel.h"

#include <imgui.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <string>

#include "views/palette.h"
#include "views/widgets.h"

namespace savepoint::views {
namespace {

constexpr float kTop = 112;  // of the time line, so that there is room for marks
constexpr const char* kPercentileTip =
    "Percentile: the share of calibration tokens of the same layer, head and position range whose distance is smaller. "
    "95 means that only 5 in 100 ordinary tokens lie as far out.";
constexpr const char* kMarkTip =
    "A token is marked when its percentile (of the mean squared distance over layers and heads) is at least this; "
    "drag, "
    "or Ctrl+click to type. 99.9: about one in 1,000 tokens of ordinary text, as far as so many were seen at its "
    "positions. 100: only above all that calibration saw. Marks show here, in the transcript and on thoughts.";
constexpr const char* kDistanceTip =
    "Distance: what the chosen detector says of the chosen form; Mahalanobis distance over the root of the number of "
    "features, other detectors over their median for ordinary text. About 1 for ordinary text.";

float value_at(const std::vector<float>& values, const AnomalyView& view, int64_t token, int64_t layer, int64_t head) {
    const size_t at = static_cast<size_t>((token * view.layers + layer) * view.heads + head);
    return token < view.scored && at < values.size() ? values[at] : NAN;
}

float token_percentile(const AnomalyView& view, int64_t token) {
    return token < view.scored && token < static_cast<int64_t>(view.token_percentile.size())
               ? view.token_percentile[token]
               : NAN;
}

// The selected token's position in the scored path; -1 when it is not there.
int64_t selected_token(const Snapshot& snapshot) {
    const TokenView* token = find_token(snapshot, snapshot.selected);
    const bool same_path = token != nullptr && snapshot.anomaly->thought == snapshot.path->thought;
    return same_path && token->position < snapshot.anomaly->scored ? token->position : -1;
}

const TokenView* token_of(const Snapshot& snapshot, int64_t position) {
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

// After the selected one, from the start again at the end; null when none is marked.
const TokenView* next_mark(const Snapshot& snapshot) {
    if (snapshot.path == nullptr) return nullptr;
    const TokenView* first = nullptr;
    for (const auto& token : snapshot.path->tokens) {
        if (!token->marked) continue;
        if (token->position > snapshot.selected.position) return token.get();
        if (first == nullptr) first = token.get();
    }
    return first;
}

void go_to_next_mark(Frame& frame) {
    if (const TokenView* token = next_mark(frame.snapshot))
        frame.submit(command::Select{{token->thought, token->position}});
}

float left_margin() { return std::max(small_width("100"), small_width("token")) + 0.7f * em(); }

void axis_title(ImDrawList* draw, ImVec2 at, const char* text, float align = 0) {
    small_text(draw, at, palette::text_dim, text, align);
}

}  // namespace

bool AnomalyPanel::shows_kept(const AnomalyView& view) const {
    return cache_ == 1 && view.pruning.kind != PruningKind::none;
}

int64_t AnomalyPanel::scored(const AnomalyView& view) const {
    return shows_kept(view) ? view.pruned_scored : view.scored;
}

const std::vector<float>& AnomalyPanel::values_of(const AnomalyView& view) const {
    if (shows_kept(view)) return measure_ == 0 ? view.pruned_percentile : view.pruned_distance;
    return measure_ == 0 ? view.percentile : view.distance;
}

ImU32 AnomalyPanel::colour(float value) const {
    if (std::isnan(value)) return sequential(NAN);
    return measure_ == 0 ? anomaly_colour(value) : sequential((value - 0.5f) / 1.5f);
}

bool AnomalyPanel::draw_missing(Frame& frame) const {
    const Snapshot& snapshot = frame.snapshot;
    if (snapshot.anomaly != nullptr && snapshot.anomaly->tokens > 0 && snapshot.anomaly->layers > 0 &&
        snapshot.anomaly->heads > 0)
        return false;
    const bool has_text = snapshot.path != nullptr && !snapshot.path->tokens.empty();
    if (snapshot.sidecar->phase == Phase::working) {
        char advice[256];
        std::snprintf(advice, sizeof advice,
                      "%.0f %%: %s. It reads ordinary text, against which tokens are then scored.",
                      100 * snapshot.sidecar->progress,
                      snapshot.sidecar->stage.empty() ? "starting" : snapshot.sidecar->stage.c_str());
        empty_state("The reference is being fitted", advice);
    } else if (has_text && snapshot.sidecar->phase == Phase::ready) {
        empty_state("Scoring the tokens", "The scores appear as they are computed.");
    } else if (has_text) {
        empty_state("Nothing to compare with yet",
                    "Scores need reference statistics: fit a sidecar under Model and sidecar.");
    } else {
        empty_state("No scores yet", "Generate from a prompt: each token is scored against ordinary text.");
    }
    return true;
}

void AnomalyPanel::draw_controls(Frame& frame) {
    static const std::string kModes[] = {"Heads", "Tokens"};
    segmented("mode", kModes, mode_, 0, {},
              "Heads: layers x heads at the selected token. Tokens: layers x tokens, mean over the heads.");
    flow(6.6f * em());
    ImGui::SetNextItemWidth(6.6f * em());
    ImGui::Combo("##measure", &measure_, "percentile\0distance\0");
    tooltip(measure_ == 0 ? kPercentileTip : kDistanceTip);
    if (frame.snapshot.pruning.kind != PruningKind::none) {
        static const std::string kCaches[] = {"All", "Kept"};
        flow(6 * em());
        segmented(
            "cache", kCaches, cache_, 0, {},
            "All: the map is of the sums over all tokens. Kept: of those over the part that is chosen beside them.");
    }
    choice_.draw_button(frame);
    draw_mark_controls(frame);
}

void AnomalyPanel::draw_mark_controls(Frame& frame) {
    if (!dragging_) threshold_ = frame.snapshot.mark_threshold;
    flow(7.2f * em());
    ImGui::SetNextItemWidth(7.2f * em());
    const double least = 50, most = 100;
    if (ImGui::DragScalar("##mark", ImGuiDataType_Double, &threshold_, 0.1f, &least, &most, "mark from %.1f",
                          ImGuiSliderFlags_AlwaysClamp))
        frame.submit(command::SetMarkThreshold{threshold_});
    dragging_ = ImGui::IsItemActive();
    tooltip(kMarkTip);
    int64_t marks = 0;
    if (frame.snapshot.path)
        for (const auto& token : frame.snapshot.path->tokens) marks += token->marked;
    const std::string label = std::to_string(marks) + " marked";
    flow(button_width(label.c_str()));
    ImGui::BeginDisabled(marks == 0);
    if (ImGui::Button((label + "###marks").c_str())) go_to_next_mark(frame);
    ImGui::EndDisabled();
    tooltip(marks == 0 ? "No token of this path is as unusual as the threshold asks for."
                       : "Selects the next marked token of this path.");
}

void AnomalyPanel::draw_legend() const {
    if (measure_ == 0)
        gradient_legend(
            "percentile", "50", "100", [](float t) { return anomaly_colour(50 + 50 * t); }, kPercentileTip);
    else
        gradient_legend(
            "distance", "0.5", "2", [](float t) { return sequential(t); }, kDistanceTip);
    const std::string note = measure_ == 0 ? "among calibration tokens of the same layer, head and position range"
                                           : "from ordinary text; 1 is typical";
    flow(small_width(note));
    small_label(note, palette::text_dim);
    tooltip(measure_ == 0 ? kPercentileTip : kDistanceTip);
}

void AnomalyPanel::draw_masked(const AnomalyView& view) const {
    if (view.masked == 0) return;
    const std::string text = std::to_string(view.masked) + " masked";
    flow(small_width(text));
    small_label(text, palette::warning);
    tooltip("Quotients of this path whose denominators vanished, and which count as 0.");
}

void AnomalyPanel::focus(Frame& frame, int64_t layer) {
    picked_layer_ = layer;
    const int64_t group = group_of_layer(*frame.snapshot.sidecar, layer);
    if (group >= 0) frame.ui.focus_group = group;
}

void AnomalyPanel::heads_input(Frame& frame, const Grid& grid, int64_t token) {
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

void AnomalyPanel::draw_heads(Frame& frame, float height) {
    const AnomalyView& view = *frame.snapshot.anomaly;
    const int64_t token = selected_token(frame.snapshot);
    const ImVec2 at = ImGui::GetCursorScreenPos(), room = ImGui::GetContentRegionAvail();
    const float line = small_height() + 3;
    Grid grid{{at.x + left_margin(), at.y + line}, {at.x + room.x, at.y + height - line}, view.layers, view.heads};
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
    const auto& values = values_of(view);
    draw_cells(draw, grid,
               [&](int64_t layer, int64_t head) { return colour(value_at(values, view, token, layer, head)); });
    row_labels(draw, grid);
    column_labels(draw, grid);
    const int64_t group = picked_layer_ >= 0 ? group_of_layer(*frame.snapshot.sidecar, picked_layer_) : -1;
    if (group >= 0) {
        const auto& blocks = frame.snapshot.sidecar->groups[group];
        outline_cells(draw, grid, blocks.first_block, 0, blocks.last_block - blocks.first_block + 1, view.heads,
                      palette::accent);
    }
    if (const TokenView* text = token_of(frame.snapshot, token)) {
        const std::string name = "\"" + visible(text->text) + "\" at position " + std::to_string(token);
        small_text(draw, {grid.max.x, at.y}, palette::text, name, 1);
    }
    heads_input(frame, grid, token);
}

// Only new tokens are added up: a path of thousands grows by one token many times a second.
bool AnomalyPanel::average_heads(const AnomalyView& view) {
    const Pruning pruning = shows_kept(view) ? view.pruning : Pruning();
    const bool same = view.thought == means_thought_ && view.choice == means_choice_ && pruning == means_pruning_ &&
                      measure_ == means_measure_ && scored(view) >= means_scored_;
    if (same && scored(view) == means_scored_) return false;
    if (!same) means_scored_ = 0;
    means_thought_ = view.thought, means_choice_ = view.choice, means_pruning_ = pruning, means_measure_ = measure_;
    means_.resize(static_cast<size_t>(scored(view) * view.layers));
    const auto& values = values_of(view);
    for (int64_t token = means_scored_; token < scored(view); ++token)
        for (int64_t layer = 0; layer < view.layers; ++layer) {
            float sum = 0;
            for (int64_t head = 0; head < view.heads; ++head) sum += value_at(values, view, token, layer, head);
            means_[token * view.layers + layer] = sum / static_cast<float>(view.heads);
        }
    means_scored_ = scored(view);
    return true;
}

void AnomalyPanel::colour_cells(const AnomalyView& view, int64_t start, int64_t end, int64_t bin) {
    cells_start_ = start, cells_end_ = end, cells_bin_ = bin;
    const int64_t columns = (end - start + bin - 1) / bin;
    cells_.resize(static_cast<size_t>(columns * view.layers));
    for (int64_t column = 0; column < columns; ++column)
        for (int64_t layer = 0; layer < view.layers; ++layer) {
            float most = NAN;
            for (int64_t token = start + column * bin; token < std::min(end, start + (column + 1) * bin); ++token)
                most = std::fmax(most, means_[token * view.layers + layer]);
            cells_[column * view.layers + layer] = colour(most);
        }
}

void AnomalyPanel::layers_input(Frame& frame, const Grid& grid) {
    int64_t unused = 0, layer = 0;
    const ImVec2 mouse = ImGui::GetMousePos();
    if (!ImGui::IsItemHovered() || !grid.locate(mouse, unused, layer)) return;
    const int64_t token = axis_.token_at(mouse.x);
    if (token < 0 || token >= means_scored_) return;
    const TokenView* text = token_of(frame.snapshot, token);
    if (text != nullptr) frame.ui.hovering = {text->thought, token};
    if (ImGui::BeginTooltip()) {
        ImGui::Text("layer %d, position %d%s", static_cast<int>(layer), static_cast<int>(token),
                    text != nullptr ? (" \"" + visible(text->text) + "\"").c_str() : "");
        ImGui::Text("%s, mean over heads  %s", measure_ == 0 ? "percentile" : "distance",
                    format_number(means_[token * frame.snapshot.anomaly->layers + layer]).c_str());
        ImGui::TextDisabled("click: select the token and show the layer's group");
        ImGui::EndTooltip();
    }
    if (!ImGui::IsItemClicked()) return;
    focus(frame, layer);
    if (text != nullptr) frame.submit(command::Select{{text->thought, token}});
}

void AnomalyPanel::draw_layers(Frame& frame, float height) {
    const AnomalyView& view = *frame.snapshot.anomaly;
    const bool fresh = average_heads(view);
    const ImVec2 at = ImGui::GetCursorScreenPos(), room = ImGui::GetContentRegionAvail();
    const float line = small_height() + 3;
    ImGui::InvisibleButton(
        "layers", {room.x, height},
        ImGuiButtonFlags_MouseButtonLeft | ImGuiButtonFlags_MouseButtonRight | ImGuiButtonFlags_MouseButtonMiddle);
    Grid frame_grid{{at.x + left_margin(), at.y + line}, {at.x + room.x, at.y + height}, 1, view.layers, true};
    axis_.place(frame_grid.min.x, frame_grid.max.x);
    axis_.navigate();
    auto* draw = ImGui::GetWindowDrawList();
    axis_title(draw, at, "layer");
    small_text(draw, {frame_grid.max.x, at.y}, palette::text_dim,
               axis_.bin() > 1 ? "largest of each column's tokens" : "mean over heads", 1);
    row_labels(draw, frame_grid);
    draw->PushClipRect(frame_grid.min, frame_grid.max, true);
    draw->AddRectFilled(frame_grid.min, frame_grid.max, palette::background);
    const int64_t bin = axis_.bin(), start = axis_.first() / bin * bin, end = std::min(axis_.end(), means_scored_);
    if (end > start) {
        const int64_t columns = (end - start + bin - 1) / bin;
        Grid cells{{axis_.x_of(static_cast<double>(start)), frame_grid.min.y},
                   {axis_.x_of(static_cast<double>(start + columns * bin)), frame_grid.max.y},
                   columns,
                   view.layers,
                   true};
        if (fresh || start != cells_start_ || end != cells_end_ || bin != cells_bin_)
            colour_cells(view, start, end, bin);
        draw_cells(draw, cells, [&](int64_t column, int64_t layer) { return cells_[column * view.layers + layer]; });
    }
    draw->PopClipRect();
    draw_token_marks(frame, frame_grid.min.y, frame_grid.max.y);
    layers_input(frame, frame_grid);
}

void AnomalyPanel::draw_token_marks(const Frame& frame, float top, float bottom) const {
    auto* draw = ImGui::GetWindowDrawList();
    const auto mark = [&](int64_t token, ImU32 colour, float thickness) {
        if (token < axis_.first() || token >= axis_.end()) return;
        const float x = std::round(axis_.x_of(static_cast<double>(token) + 0.5));
        draw->AddLine({x, top}, {x, bottom}, colour, thickness);
    };
    for (const TokenRef& ref : frame.ui.selection.tokens())  // short, so that many leave the cells to be seen
        if (find_token(frame.snapshot, ref) != nullptr && ref.position >= axis_.first() && ref.position < axis_.end()) {
            const float x = std::round(axis_.x_of(static_cast<double>(ref.position) + 0.5));
            draw->AddLine({x, top}, {x, top + 0.4f * em()}, palette::accent, 2);
        }
    if (find_token(frame.snapshot, frame.ui.hovered) != nullptr)
        mark(frame.ui.hovered.position, with_alpha(palette::text, 0.5f), 1);
    if (find_token(frame.snapshot, frame.snapshot.selected) != nullptr)
        mark(frame.snapshot.selected.position, palette::accent, 1.5f);
}

void AnomalyPanel::draw_time_curve(ImDrawList* draw, const AnomalyView& view, double threshold, ImVec2 low,
                                   ImVec2 high) const {
    const auto y_of = [&](float percentile) { return high.y - (high.y - low.y) * percentile / kTop; };
    const int64_t bin = axis_.bin(), end = std::min(axis_.end(), view.scored);
    std::vector<ImVec2> line;
    std::vector<float> marks;
    for (int64_t start = axis_.first() / bin * bin; start < end; start += bin) {
        float most = NAN;
        for (int64_t token = start; token < std::min(end, start + bin); ++token)
            most = std::fmax(most, token_percentile(view, token));
        if (std::isnan(most)) continue;
        const float left = axis_.x_of(static_cast<double>(start)), right = axis_.x_of(static_cast<double>(start + bin));
        draw->AddRectFilled(
            {left, y_of(most)}, {right, high.y},
            is_marked(most, threshold) ? with_alpha(palette::bad, 0.4f) : with_alpha(palette::accent, 0.16f));
        line.push_back({(left + right) / 2, y_of(most)});
        if (is_marked(most, threshold)) marks.push_back(line.back().x);
    }
    if (line.size() > 1) draw->AddPolyline(line.data(), static_cast<int>(line.size()), palette::accent, 1.5f);
    const float half = 0.3f * em();
    for (const float x : marks)
        draw->AddTriangleFilled({x - half, low.y}, {x + half, low.y}, {x, low.y + 1.5f * half}, palette::bad);
}

void AnomalyPanel::draw_pruned_curve(ImDrawList* draw, const AnomalyView& view, ImVec2 low, ImVec2 high) const {
    const int64_t bin = axis_.bin(), end = std::min(axis_.end(), view.pruned_scored);
    std::vector<ImVec2> line;
    for (int64_t start = axis_.first() / bin * bin; start < end; start += bin) {
        float most = 0;
        for (int64_t token = start; token < std::min(end, start + bin); ++token)
            most = std::fmax(most, view.pruned_token_percentile[static_cast<size_t>(token)]);
        line.push_back({axis_.x_of(static_cast<double>(start) + 0.5 * static_cast<double>(bin)),
                        high.y - (high.y - low.y) * most / kTop});
    }
    if (line.size() > 1) draw->AddPolyline(line.data(), static_cast<int>(line.size()), palette::warning, 1.5f);
}

void AnomalyPanel::token_input(Frame& frame, int64_t token) const {
    const TokenView* text = token_of(frame.snapshot, token);
    if (text == nullptr) return;
    frame.ui.hovering = {text->thought, token};
    token_tooltip(*text);
    if (ImGui::IsItemClicked()) frame.submit(command::Select{{text->thought, token}});
}

void AnomalyPanel::draw_time_line(Frame& frame, float height) {
    const AnomalyView& view = *frame.snapshot.anomaly;
    const ImVec2 at = ImGui::GetCursorScreenPos(), room = ImGui::GetContentRegionAvail();
    const float line = small_height() + 3;
    ImGui::InvisibleButton(
        "time", {room.x, height},
        ImGuiButtonFlags_MouseButtonLeft | ImGuiButtonFlags_MouseButtonRight | ImGuiButtonFlags_MouseButtonMiddle);
    const ImVec2 low = {at.x + left_margin(), at.y + line}, high = {at.x + room.x, at.y + height - line};
    axis_.place(low.x, high.x);
    axis_.navigate();
    auto* draw = ImGui::GetWindowDrawList();
    draw->AddRectFilled(low, high, palette::background, 2);
    const auto y_of = [&](float percentile) { return high.y - (high.y - low.y) * percentile / kTop; };
    for (const float percentile : {0.0f, 50.0f, 100.0f}) {
        draw->AddLine({low.x, y_of(percentile)}, {high.x, y_of(percentile)}, with_alpha(palette::border, 0.6f));
        small_text(draw, {low.x - 0.35f * em(), y_of(percentile) - small_height() / 2}, palette::text_dim,
                   format_number(percentile), 1);
    }
    draw->PushClipRect(low, high, true);
    draw_time_curve(draw, view, threshold_, low, high);
    draw_pruned_curve(draw, view, low, high);
    draw->PopClipRect();
    const float mark = y_of(static_cast<float>(threshold_));
    for (float x = low.x; x < high.x; x += 8) draw->AddLine({x, mark}, {std::min(high.x, x + 4), mark}, palette::bad);
    draw_token_marks(frame, low.y, high.y);
    axis_.draw_labels(draw, high.y + 2);
    axis_title(draw, at, "token's percentile");
    if (view.pruning.kind != PruningKind::none)
        small_text(draw, {at.x + small_width("token's percentile") + em(), at.y}, palette::warning,
                   "of the part kept (" + to_string(view.pruning) + ")");
    small_text(draw, {high.x, at.y}, palette::bad, "- - marked from " + format_number(threshold_, 4) + " on", 1);
    axis_title(draw, {at.x, high.y + 2}, "token");
    const ImVec2 mouse = ImGui::GetMousePos();
    if (ImGui::IsItemHovered() && mouse.x >= low.x && mouse.x < high.x) token_input(frame, axis_.token_at(mouse.x));
}

void AnomalyPanel::draw(Frame& frame) {
    if (draw_missing(frame)) return;
    const AnomalyView& view = *frame.snapshot.anomaly;
    axis_.set_count(view.tokens);
    draw_controls(frame);
    draw_legend();
    draw_masked(view);
    choice_.draw_reference(frame);
    if (view.scored < view.tokens)
        small_label("scored " + std::to_string(view.scored) + " of " + std::to_string(view.tokens) + " tokens",
                    palette::warning);
    ImGui::Dummy({0, 0.15f * em()});
    const ImVec2 room = ImGui::GetContentRegionAvail();
    const float lines = 2 * (small_height() + 3), gap = 2 * ImGui::GetStyle().ItemSpacing.y + 0.25f * em();
    const float least = 5 * em() + lines;  // of the time line
    const float wanted = mode_ == 0 ? 1.7f * em() * static_cast<float>(view.heads) + lines : 0.62f * room.y;
    const float map = std::max(3 * em(), std::min(wanted, room.y - least - gap));
    if (mode_ == 0)
        draw_heads(frame, map);
    else
        draw_layers(frame, map);
    ImGui::Dummy({0, 0.2f * em()});
    draw_time_line(frame, std::max(least, std::min(ImGui::GetContentRegionAvail().y, 16 * em())));
}

std::vector<std::pair<std::string, std::function<void(Frame&)>>> AnomalyPanel::actions() {
    return {{"Select the next marked token", go_to_next_mark}};
}

}  // namespace savepoint::views
