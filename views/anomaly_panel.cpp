#include "views/anomaly_panel.h"

#include <imgui.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <string>

#include "views/anomaly_time_line.h"
#include "views/chart.h"
#include "views/palette.h"
#include "views/run_pair.h"
#include "views/widgets.h"

namespace savepoint::views {
namespace {

constexpr const char* kPercentileTip =
    "Percentile: the share of calibration tokens of the same layer, head and position range whose distance is smaller. "
    "95 means that only 5 in 100 ordinary tokens lie as far out.";
constexpr const char* kMarkTip =
    "A token is marked when its percentile (of the mean squared distance over layers and heads) is at least this; "
    "drag, or Ctrl+click to type. 99.9: about one in 1,000 tokens of ordinary text, as far as so many were seen at its "
    "positions. 100: only above all that calibration saw. Marks show here, in the transcript and on thoughts.";
constexpr const char* kDistanceTip =
    "Distance: what the chosen detector says of the chosen form; Mahalanobis distance over the root of the number of "
    "features, other detectors over their median for ordinary text. About 1 for ordinary text.";

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

}  // namespace

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
    ImGui::Combo("##measure", &shown_.measure, "percentile\0distance\0");
    tooltip(shown_.measure == 0 ? kPercentileTip : kDistanceTip);
    if (frame.snapshot.pruning.kind != PruningKind::none) {
        static const std::string kCaches[] = {"All", "Kept"};
        flow(6 * em());
        segmented(
            "cache", kCaches, shown_.cache, 0, {},
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
    flow(16 * em());
    if (shown_.measure == 0)
        legend_in_row(
            "percentile", "50", "100", [](float t) { return anomaly_colour(50 + 50 * t); }, kPercentileTip);
    else
        legend_in_row(
            "distance", "0.5", "2", [](float t) { return sequential(t); }, kDistanceTip);
}

void AnomalyPanel::draw_masked(const AnomalyView& view) const {
    if (view.masked == 0) return;
    const std::string text = std::to_string(view.masked) + " masked";
    flow(small_width(text));
    small_label(text, palette::warning);
    tooltip("Quotients of this path whose denominators vanished, and which count as 0.");
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
        heads_.draw(frame, shown_, map);
    else
        layers_.draw(frame, shown_, axis_, heads_, map);
    ImGui::Dummy({0, 0.2f * em()});
    draw_anomaly_time_line(frame, axis_, threshold_,
                           std::max(least, std::min(ImGui::GetContentRegionAvail().y, 16 * em())));
}

std::vector<std::pair<std::string, std::function<void(Frame&)>>> AnomalyPanel::actions() {
    return {{"Select the next marked token", go_to_next_mark}};
}

}  // namespace savepoint::views
