#include "views/lens_panel.h"

#include <imgui.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <numeric>

#include "views/palette.h"
#include "views/widgets.h"

namespace savepoint::views {
namespace {

const std::array<std::string, 2> kStates{"Own states", "Decoded z"};
const std::array<std::string, 2> kKinds{"Logit lens", "Tuned lens"};
const std::array<std::string, 4> kMeasures{"KL", "Probability", "Entropy", "Difference"};
constexpr std::array<const char*, 4> kMeasureTips{
    "KL(the model's own distribution there || the layer's), in nats: 0 once the layer says what the model says.",
    "Probability of the layer's most likely token.", "Entropy of the layer's distribution, in nats: how unsure it is.",
    "Logit of target minus distractor at the layer: above 0 it prefers the target."};
constexpr const char* kKindTip =
    "Logit lens: the layer's state straight through the final norm and the head. Tuned lens: through an affine map "
    "first, "
    "one a layer, that says what the last layer would make of it (Belrose et al. 2023); it is fitted on ordinary text "
    "the "
    "first time, in about a minute, and kept.";
constexpr const char* kStatesTip =
    "Own states: as the model computed them. Decoded z: what the sidecar makes of them from the latent. The KL is "
    "always "
    "against the model's own outcome.";

double mean(const std::vector<float>& values) {
    return values.empty() ? NAN
                          : std::accumulate(values.begin(), values.end(), 0.0) / static_cast<double>(values.size());
}

}  // namespace

void LensPanel::read(Frame& frame) const {
    LensRequest request;
    request.thought = frame.snapshot.current;
    request.states = states_ == 0 ? LensStates::own : LensStates::decoded;
    request.kind = kind_ == 0 ? LensKind::logit : LensKind::tuned;
    request.target = target_, request.distractor = distractor_;
    // The choice that is looked at is the selected token's.
    const TokenView* token = find_token(frame.snapshot, frame.snapshot.selected);
    if (token && token->next.size() > 1) {
        if (request.target < 0) request.target = token->next[0].id;
        if (request.distractor < 0) request.distractor = token->next[token->next[0].id == request.target ? 1 : 0].id;
    }
    frame.submit(command::ReadThroughLens{request});
}

void LensPanel::draw_request(Frame& frame) {
    segmented("kind", kKinds, kind_, 0, {}, kKindTip);
    flow(12 * em());
    segmented("states", kStates, states_, 0, {}, kStatesTip);
    const TokenView* token = find_token(frame.snapshot, frame.snapshot.selected);
    static const std::vector<CandidateView> kNone;
    const auto& offered = token ? token->next : kNone;
    flow(9.5f * em());
    token_combo("##target", "for", offered, target_,
                "Target: one of the likely next tokens after the selected one. Automatic: the likeliest.");
    flow(9.5f * em());
    token_combo("##distractor", "against", offered, distractor_,
                "Distractor: the token that it is held against. Automatic: the second likeliest.");
    flow(button_width("Read"));
    const bool sidecar = frame.snapshot.sidecar->phase == Phase::ready;
    const bool can = frame.snapshot.current != 0 && !frame.snapshot.status.generating && (states_ == 0 || sidecar);
    ImGui::BeginDisabled(!can);
    if (ImGui::Button("Read")) read(frame);
    ImGui::EndDisabled();
    tooltip(can                        ? "Reads every layer of every token of the thought that is shown."
            : states_ == 1 && !sidecar ? "Decoded states need a sidecar: fit one under Model and sidecar."
                                       : "A thought has to be shown, and no generation to run.");
}

void LensPanel::draw_figures(const LensView& view) const {
    if (view.figures.kl_tuned.empty()) return;
    char text[200];
    std::snprintf(text, sizeof text, "held-out KL, mean over layers: logit lens %.2f, tuned lens %.2f nats",
                  mean(view.figures.kl_logit), mean(view.figures.kl_tuned));
    small_label(text, palette::text_dim);
    const std::string tip = "KL(the model's own distribution || the lens's) on " +
                            std::to_string(view.figures.held_out_tokens) +
                            " tokens of held-out text; the tuned lens was "
                            "fitted on " +
                            std::to_string(view.figures.fitted_tokens) + " tokens.";
    tooltip(tip.c_str());
}

float LensPanel::value(const LensMap& map, int64_t token, int64_t layer) const {
    if (token >= map.read) return NAN;
    const auto at = static_cast<size_t>(token * map.layers + layer);
    switch (measure_) {
        case 0:
            return map.kl[at];
        case 1:
            return map.top_probability[at * kLensTop];
        case 2:
            return map.entropy[at];
        default:
            return map.difference[at];
    }
}

ImU32 LensPanel::colour(float value) const {
    if (std::isnan(value)) return palette::background;
    switch (measure_) {
        case 0:
            return sequential(1 - std::min(1.0f, value / 8));  // bright: as the model
        case 1:
            return sequential(value);
        case 2:
            return sequential(1 - std::min(1.0f, value / 10));
        default:
            return diverging(0.5f + 0.5f * std::clamp(value / 10, -1.0f, 1.0f));
    }
}

int64_t LensPanel::shown_token(const Frame& frame, const LensView& view) const {
    const TokenRef& at = frame.snapshot.selected;
    const int64_t token = at.position - view.map->first;
    if (token >= 0 && token < view.map->read && view.owner[static_cast<size_t>(token)] == at.thought) return token;
    return view.map->read - 1;
}

void LensPanel::draw_tooltip(const LensView& view, int64_t token, int64_t layer) const {
    if (!ImGui::BeginTooltip()) return;
    const LensMap& map = *view.map;
    ImGui::Text("after %s at %d, layer %d", quoted_token(view.text[static_cast<size_t>(token)]).c_str(),
                static_cast<int>(map.first + token), static_cast<int>(layer));
    ImGui::Separator();
    const auto at = static_cast<size_t>(token * map.layers + layer);
    if (token >= map.read) {
        ImGui::TextDisabled("not read yet");
    } else {
        for (size_t k = at * kLensTop; k < (at + 1) * kLensTop; ++k)
            ImGui::Text("%5.1f %%  %s", 100 * map.top_probability[k], quoted_token(view.top[k]).c_str());
        ImGui::Text("KL %s nats, entropy %s nats", format_number(map.kl[at]).c_str(),
                    format_number(map.entropy[at]).c_str());
        if (!std::isnan(map.next_probability[at]))
            ImGui::Text("the token that came next: %.2g %%", 100 * map.next_probability[at]);
        ImGui::Text("%s over %s: %s", quoted_token(view.target).c_str(), quoted_token(view.distractor).c_str(),
                    format_number(map.difference[at]).c_str());
        ImGui::TextDisabled("click: select this token");
    }
    ImGui::EndTooltip();
}

void LensPanel::draw_map(Frame& frame, const LensView& view, ImVec2 size) {
    const LensMap& map = *view.map;
    LayerMap::Contents contents;
    contents.columns = map.tokens;
    contents.rows = map.layers;
    contents.colour = [&](int64_t token, int64_t layer) { return colour(value(map, token, layer)); };
    contents.label = [&](int64_t token) { return drawable(visible(view.text[static_cast<size_t>(token)])); };
    contents.number = [&](int64_t token) { return std::to_string(map.first + token); };
    contents.cell_text = [&](int64_t token, int64_t layer) {
        const auto top = static_cast<size_t>(token * map.layers + layer) * kLensTop;
        return token < map.read ? drawable(visible(view.top[top])) : std::string();
    };
    const LayerMap::Hit hit = map_.draw("lens", size, contents);
    // On the thought that is shown: what owns its tokens is known of that one alone.
    if (frame.snapshot.current == view.request.thought)
        for (const TokenRef& picked : frame.ui.selection.tokens())
            if (find_token(frame.snapshot, picked)) map_.tick_column(picked.position - map.first, palette::accent);
    map_.mark_column(shown_token(frame, view), palette::accent, 1.5f);
    if (!hit.hovered) return;
    map_.outline(hit.column, hit.row, palette::text, 1);
    draw_tooltip(view, hit.column, hit.row);
    if (!hit.clicked) return;
    if (frame.snapshot.current != view.request.thought) frame.submit(command::SetCurrent{view.request.thought});
    frame.submit(command::Select{{view.owner[static_cast<size_t>(hit.column)], map.first + hit.column}});
}

// Target minus distractor from layer to layer, at one token.
void LensPanel::draw_difference(const LensView& view, int64_t token, ImVec2 size) const {
    const LensMap& map = *view.map;
    if (token < 0) return;
    const ImVec2 at = ImGui::GetCursorScreenPos();
    const float line = small_height() + 3;
    ImGui::InvisibleButton("difference", size);
    auto* draw = ImGui::GetWindowDrawList();
    const Grid grid{
        {at.x + small_width("-00.0") + 0.7f * em(), at.y + line}, {at.x + size.x, at.y + size.y - line}, map.layers, 1};
    const std::string title = quoted_token(view.target) + " over " + quoted_token(view.distractor) + " after " +
                              quoted_token(view.text[static_cast<size_t>(token)]) + ", logits";
    small_text(draw, at, palette::text_dim, title);
    const float* values = map.difference.data() + token * map.layers;
    float most = 1;
    for (int64_t layer = 0; layer < map.layers; ++layer) most = std::max(most, std::abs(values[layer]));
    const auto y_of = [&](float v) { return (grid.min.y + grid.max.y) / 2 - v / most * (grid.max.y - grid.min.y) / 2; };
    draw->AddRectFilled(grid.min, grid.max, palette::background, 2);
    for (const float v : {-most, 0.0f, most}) {
        draw->AddLine({grid.min.x, y_of(v)}, {grid.max.x, y_of(v)}, with_alpha(palette::border, v == 0 ? 1.0f : 0.5f));
        small_text(draw, {grid.min.x - 0.35f * em(), y_of(v) - small_height() / 2}, palette::text_dim,
                   format_number(v, 2), 1);
    }
    std::vector<ImVec2> points;
    for (int64_t layer = 0; layer < map.layers; ++layer)
        points.push_back({grid.cell_min(layer, 0).x + grid.cell_size().x / 2, y_of(values[layer])});
    draw->AddPolyline(points.data(), static_cast<int>(points.size()), palette::accent, 1.5f);
    for (size_t i = 0; i < points.size(); ++i)
        draw->AddCircleFilled(points[i], 0.2f * em(), values[i] > 0 ? palette::good : palette::bad);
    column_labels(draw, grid);
    small_text(draw, {at.x, grid.max.y + 2}, palette::text_dim, "layer");
    int64_t layer = 0, unused = 0;
    if (ImGui::IsItemHovered() && grid.locate(ImGui::GetMousePos(), layer, unused)) {
        draw->AddLine({points[static_cast<size_t>(layer)].x, grid.min.y},
                      {points[static_cast<size_t>(layer)].x, grid.max.y}, with_alpha(palette::text, 0.4f));
        draw_tooltip(view, token, layer);
    }
}

void LensPanel::draw(Frame& frame) {
    if (frame.snapshot.current == 0) {
        empty_state("No thought yet", "Generate from a prompt, then read what each layer would say next.");
        return;
    }
    draw_request(frame);
    const auto& view = frame.snapshot.lens;
    if (!view) {
        empty_state("Nothing read yet",
                    "Read shows, for every token and layer, what the model would say next if it stopped there.");
        return;
    }
    causal_progress(frame, view->state, view->progress, view->stage, view->error, "Reading through a lens");
    draw_figures(*view);
    if (!view->map || view->map->read == 0) return;
    segmented("measure", kMeasures, measure_, 0, {}, kMeasureTips[static_cast<size_t>(measure_)]);
    flow(12 * em());
    const auto low_high = std::array<std::pair<const char*, const char*>, 4>{
        {{"8 nats", "0"}, {"0", "100 %"}, {"10 nats", "0"}, {"-10", "10"}}}[static_cast<size_t>(measure_)];
    legend_in_row(
        "", low_high.first, low_high.second, [this](float t) { return measure_ == 3 ? diverging(t) : sequential(t); },
        kMeasureTips[static_cast<size_t>(measure_)]);
    const ImVec2 room = ImGui::GetContentRegionAvail();
    const float below = std::clamp(0.3f * room.y, 6 * em(), 10 * em()),
                words = std::clamp(0.27f * room.x, 9 * em(), 15 * em());
    const float above = std::max(8 * em(), room.y - below - ImGui::GetStyle().ItemSpacing.y);
    const float map = room.x - words - ImGui::GetStyle().ItemSpacing.x;
    ImGui::BeginGroup();
    draw_map(frame, *view, {map, above});
    draw_difference(*view, shown_token(frame, *view), {map, below});
    ImGui::EndGroup();
    ImGui::SameLine();
    draw_words(*view, shown_token(frame, *view), {words, above + below});
}

// What every layer says after one token, the last layer first.
void LensPanel::draw_words(const LensView& view, int64_t token, ImVec2 size) const {
    constexpr ImGuiTableFlags flags = ImGuiTableFlags_RowBg | ImGuiTableFlags_ScrollY | ImGuiTableFlags_SizingFixedFit;
    if (token < 0 || !ImGui::BeginTable("words", 3, flags, size)) return;
    ImGui::TableSetupScrollFreeze(0, 1);
    ImGui::TableSetupColumn("layer");
    ImGui::TableSetupColumn("says", ImGuiTableColumnFlags_WidthStretch);
    ImGui::TableSetupColumn("%");
    ImGui::TableHeadersRow();
    const LensMap& map = *view.map;
    for (int64_t layer = map.layers - 1; layer >= 0; --layer) {
        const auto top = static_cast<size_t>(token * map.layers + layer) * kLensTop;
        ImGui::TableNextRow();
        ImGui::TableNextColumn();
        ImGui::TextDisabled("%d", static_cast<int>(layer));
        ImGui::TableNextColumn();
        ImGui::TextUnformatted(drawable(visible(view.top[top])).c_str());
        if (ImGui::IsItemHovered()) draw_tooltip(view, token, layer);
        ImGui::TableNextColumn();
        ImGui::Text("%.0f", 100 * map.top_probability[top]);
    }
    ImGui::EndTable();
}

std::vector<std::pair<std::string, std::function<void(Frame&)>>> LensPanel::actions() {
    return {{"Read the current thought through the lens", [this](Frame& frame) {
                 if (frame.snapshot.current != 0) read(frame);
                 frame.ui.show_panel = title();
             }}};
}

}  // namespace savepoint::views
