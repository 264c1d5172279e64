#include "views/patching_panel.h"

#include <imgui.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>

#include "views/palette.h"
#include "views/widgets.h"

namespace savepoint::views {
namespace {

const std::array<std::string, 4> kSites{"Residual", "Attention", "MLP", "Heads"};
constexpr std::array<const char*, 4> kSiteTips{
    "Residual stream after a block (blocks.L.hook_resid_post), one token at a time: where the difference is.",
    "What a block's attention adds (hook_attn_out), one token at a time: where it is moved.",
    "What a block's MLP adds (hook_mlp_out), one token at a time: where it is made.",
    "The output of one attention head (attn.hook_z): of every layer at all aligned tokens at once, or of one layer "
    "token "
    "by token. Which heads move it, and where."};
const std::array<std::string, 2> kMeasures{"Recovered", "KL"};
constexpr const char* kRecoveredTip =
    "Logit of target minus distractor, as a share of the way from b's outcome (0 %) to a's (100 %).";
constexpr const char* kKlTip =
    "KL(a || patched b) of the next-token distribution, in nats: 0 once a's outcome is there in full.";

ImU32 recovered_colour(float share) { return std::isnan(share) ? palette::background : diverging(0.5f + 0.5f * share); }

}  // namespace

void PatchingPanel::draw_runs(Frame& frame) {
    runs_.follow(frame.snapshot);
    const GraphView& graph = *frame.snapshot.graph;
    const float width = std::clamp((ImGui::GetContentRegionAvail().x - 15 * em()) / 2, 7 * em(), 16 * em());
    ImGui::AlignTextToFramePadding();
    ImGui::TextUnformatted("from a");
    ImGui::SameLine();
    if (thought_combo("##a", graph, runs_.a, width, "Source: the thought whose activations are put into the other."))
        runs_.chosen = true;
    ImGui::SameLine();
    ImGui::TextUnformatted("into b");
    ImGui::SameLine();
    if (thought_combo("##b", graph, runs_.b, width, "Destination: the thought that is run again with them."))
        runs_.chosen = true;
    ImGui::SameLine();
    if (ImGui::Button("Swap")) std::swap(runs_.a, runs_.b), runs_.chosen = true;
    tooltip("Exchange source and destination.");
}

void PatchingPanel::draw_outcome(Frame& frame) {
    const TokenView* token = find_token(frame.snapshot, frame.snapshot.selected);
    ImGui::Checkbox("outcome after the selected token", &at_selected_);
    tooltip(
        "What is to be explained: the next-token distribution after this token. Off: after the first token that both "
        "have read and from which they go on differently.");
    static const std::vector<CandidateView> kNone;
    const auto& offered = at_selected_ && token ? token->next : kNone;
    if (at_selected_) {
        flow(10.5f * em());
        token_combo("##target", "for", offered, target_,
                    "Target: a token that speaks for a's outcome. Automatic: what a "
                    "goes on with.");
        flow(10.5f * em());
        token_combo("##distractor", "against", offered, distractor_,
                    "Distractor: a token that speaks for b's outcome. Automatic: what b goes on with.");
    }
    flow(button_width("Patch"));
    const bool can = runs_.a != 0 && runs_.b != 0 && runs_.a != runs_.b && (!at_selected_ || token);
    ImGui::BeginDisabled(!can || frame.snapshot.status.generating);
    if (ImGui::Button("Patch")) start(frame);
    ImGui::EndDisabled();
    tooltip(
        can ? "Runs b again once for every layer and token, in batches, each time with one activation of a put in its "
              "place. In the background; it can be cancelled."
            : "Choose two different thoughts, and an outcome.");
}

void PatchingPanel::start(Frame& frame) const {
    PatchRequest request;
    request.source = runs_.a, request.destination = runs_.b;
    request.settings.head_layer = head_layer_;
    if (at_selected_) {
        request.target = target_, request.distractor = distractor_;
        request.destination_end = frame.snapshot.selected.position;
        request.source_end = frame.snapshot.selected.position;
        // The same token in both runs, where the last comparison knows how they are aligned.
        const auto aligned = [&](const auto& view) {
            if (!view || view->runs->a != runs_.a || view->runs->b != runs_.b) return;
            const int64_t pair = selected_pair(frame.snapshot, *view->runs);
            if (pair < 0) return;
            request.source_end = view->runs->pairs[static_cast<size_t>(pair)].a;
            request.destination_end = view->runs->pairs[static_cast<size_t>(pair)].b;
        };
        aligned(frame.snapshot.patch);
        aligned(frame.snapshot.drift);
    }
    frame.submit(command::PatchRuns{request});
}

const PatchScores* PatchingPanel::shown_scores(const PatchView& view) const {
    for (const PatchScores& scores : view.maps)
        if (static_cast<int>(scores.site) == site_ &&
            (scores.site != PatchSite::head || scores.head_layer == head_layer_))
            return &scores;
    return nullptr;
}

void PatchingPanel::draw_result(const PatchView& view) const {
    char text[320];
    std::snprintf(text, sizeof text, "After token %d: %s in a against %s in b",
                  static_cast<int>(view.request.destination_end), quoted_token(view.target).c_str(),
                  quoted_token(view.distractor).c_str());
    ImGui::TextUnformatted(text);
    tooltip(
        "The outcome: the next-token distribution after this token. Its score is the logit of the first token minus "
        "that of the second.");
    const float width = 6.5f * em();
    metric("logit diff. in a", format_number(view.source.logit_difference),
           "Logit of target minus distractor in the source.", width);
    ImGui::SameLine();
    metric("in b", format_number(view.destination.logit_difference),
           "Logit of target minus distractor in the destination, unpatched.", 4 * em());
    ImGui::SameLine();
    metric("KL(a || b)", format_number(view.destination.kl) + " nats", kKlTip, width);
    ImGui::SameLine();
    metric("cells patched", std::to_string(view.cells_run),
           "So many times the destination was run from the patched layer and token on. Cells in which a and b hold the "
           "same numbers are not run: they change nothing.",
           width);
    ImGui::SameLine();
    metric("took", format_duration(view.seconds), "Seconds since it began.", 4 * em());
}

// The map of that layer, which is asked for where it is not there yet.
void PatchingPanel::show_head_layer(Frame& frame, const PatchView& view, int64_t layer) {
    head_layer_ = layer;
    if (layer < 0 || shown_scores(view) || view.state == CausalState::running) return;
    PatchRequest request = view.request;
    request.settings.sites.clear();
    request.settings.head_layer = layer;
    frame.submit(command::PatchRuns{request});
}

void PatchingPanel::draw_head_layers(Frame& frame, const PatchView& view) {
    const auto name = [](int64_t layer) {
        return layer < 0 ? std::string("every layer") : "layer " + std::to_string(layer) + " by token";
    };
    flow(9 * em());
    ImGui::SetNextItemWidth(9 * em());
    ImGui::BeginDisabled(view.state == CausalState::running);
    if (ImGui::BeginCombo("##headlayer", name(head_layer_).c_str(), ImGuiComboFlags_HeightLarge)) {
        for (int64_t layer = -1; layer < frame.snapshot.model->layers; ++layer)
            if (ImGui::Selectable(name(layer).c_str(), layer == head_layer_)) show_head_layer(frame, view, layer);
        ImGui::EndCombo();
    }
    ImGui::EndDisabled();
    tooltip(
        "Every layer: layers by heads, each head at all aligned tokens at once. One layer: its heads token by token, "
        "which is patched when it is first asked for.");
}

void PatchingPanel::draw_choices(Frame& frame, const PatchView& view) {
    segmented("site", kSites, site_, 0, {}, kSiteTips[static_cast<size_t>(site_)]);
    flow(12 * em());
    segmented("measure", kMeasures, measure_, 0, {}, measure_ == 0 ? kRecoveredTip : kKlTip);
    if (site_ == static_cast<int>(PatchSite::head)) draw_head_layers(frame, view);
}

void PatchingPanel::tooltip_title(const PatchView& view, const PatchScores& scores, int64_t column, int64_t row) const {
    if (!scores.of_pairs()) {
        ImGui::Text("layer %d, head %d, all aligned tokens", static_cast<int>(row), static_cast<int>(column));
        ImGui::Separator();
        return;
    }
    pair_tooltip(*view.runs, column);
    ImGui::Separator();
    if (scores.site == PatchSite::head)
        ImGui::Text("layer %d, head %d", static_cast<int>(scores.head_layer), static_cast<int>(row));
    else
        ImGui::Text("layer %d, %s", static_cast<int>(row), kSites[static_cast<size_t>(scores.site)].c_str());
}

void PatchingPanel::draw_tooltip(const PatchView& view, const PatchScores& scores, int64_t column, int64_t row) const {
    if (!ImGui::BeginTooltip()) return;
    tooltip_title(view, scores, column, row);
    const auto at = static_cast<size_t>(row * scores.columns + column);
    const float score = scores.logit_difference[at];
    if (std::isnan(score)) {
        ImGui::TextDisabled("not patched yet");
    } else {
        const float share = recovered(view, score);
        ImGui::Text("recovered  %s %%", format_number(100 * share).c_str());
        ImGui::Text("logit difference  %s", format_number(score).c_str());
        ImGui::Text("KL(a || patched)  %s nats", format_number(scores.kl[at]).c_str());
    }
    ImGui::TextDisabled(scores.of_pairs() ? "click: select this token" : "click: this layer's heads token by token");
    ImGui::EndTooltip();
}

void PatchingPanel::draw_map(Frame& frame, const PatchView& view, const PatchScores& scores) {
    const bool heads = !scores.of_pairs();
    const float most = std::max(1e-6f, view.destination.kl);
    LayerMap::Contents contents;
    contents.columns = scores.columns;
    contents.rows = scores.rows;
    if (scores.head_layer >= 0) contents.row_title = "head";
    contents.colour = [&](int64_t column, int64_t layer) {
        const auto at = static_cast<size_t>(layer * scores.columns + column);
        if (measure_ == 0) return recovered_colour(recovered(view, scores.logit_difference[at]));
        return std::isnan(scores.kl[at]) ? palette::background : sequential(scores.kl[at] / most);
    };
    if (heads)
        contents.column_title = "head";
    else
        label_pairs(contents, *view.runs);
    const ImVec2 room = ImGui::GetContentRegionAvail();
    const LayerMap::Hit hit = map_.draw(
        heads ? "heads" : "cells", {room.x, std::max(7 * em(), std::min(room.y - 1.6f * em(), 34 * em()))}, contents);
    if (!heads) {
        for (int64_t pair = 0; pair < scores.columns; ++pair)
            if (!view.runs->pairs[static_cast<size_t>(pair)].same)
                small_text(ImGui::GetWindowDrawList(),
                           {map_.cell_centre(pair, scores.rows - 1).x, ImGui::GetItemRectMin().y}, palette::warning,
                           "\xE2\x89\xA0", 0.5f);
        mark_selection(frame, *view.runs, scores.columns, map_);
        map_.mark_column(selected_pair(frame.snapshot, *view.runs), palette::accent, 1.5f);
    }
    if (hit.hovered) {
        map_.outline(hit.column, hit.row, palette::text, 1);
        draw_tooltip(view, scores, hit.column, hit.row);
        if (hit.clicked && !heads) select_pair(frame, *view.runs, hit.column);
        if (hit.clicked && heads) show_head_layer(frame, view, hit.row);
    }
    if (measure_ == 0)
        gradient_legend(
            "recovered", "-100 %", "100 %", [](float t) { return diverging(t); }, kRecoveredTip);
    else
        gradient_legend(
            "KL", "0", (format_number(most) + " nats").c_str(), [](float t) { return sequential(t); }, kKlTip);
    const char* note = heads                    ? "one head at all aligned tokens"
                       : scores.head_layer >= 0 ? "one head at one token"
                                                : "one layer at one token";
    flow(small_width(note));
    small_label(note, palette::text_dim);
}

void PatchingPanel::draw(Frame& frame) {
    if (frame.snapshot.graph->thoughts.size() < 2) {
        empty_state(
            "Two thoughts are needed",
            "Send the same prompt twice with one word changed, or branch from a thought. Then patch one into the "
            "other to see which place decides the outcome.");
        return;
    }
    draw_runs(frame);
    draw_outcome(frame);
    const auto& view = frame.snapshot.patch;
    if (!view) {
        empty_state(
            "Nothing patched yet",
            "Patch puts a's activations into b, one layer and token at a time, and shows how much of a's outcome "
            "comes with each.");
        return;
    }
    causal_progress(frame, view->state, view->progress, view->stage, view->error, "Patching activations");
    const PatchScores* scores = shown_scores(*view);
    if (view->maps.empty()) return;
    draw_result(*view);
    draw_choices(frame, *view);
    if (scores)
        draw_map(frame, *view, *scores);
    else
        ImGui::TextDisabled(view->state == CausalState::running ? "Being patched." : "This was not asked for.");
}

std::vector<std::pair<std::string, std::function<void(Frame&)>>> PatchingPanel::actions() {
    return {{"Patch the parent's activations into the current thought", [this](Frame& frame) {
                 runs_.chosen = false;
                 runs_.follow(frame.snapshot);
                 at_selected_ = false;
                 if (runs_.a != 0) start(frame);
                 frame.ui.show_panel = title();
             }}};
}

}  // namespace savepoint::views
