#include "views/anomaly_choice_form.h"

#include <imgui.h>

#include <algorithm>
#include <array>
#include <cstdio>

#include "views/chart.h"
#include "views/palette.h"
#include "views/phi_formula.h"
#include "views/widgets.h"

namespace savepoint::views {
namespace {

constexpr const char* kJob = "Fitting the anomaly reference";

const char* detector_tip(DetectorKind kind) {
    switch (kind) {
        case DetectorKind::mahalanobis:
            return "Mahalanobis distance from the mean, covariance shrunk after Ledoit and Wolf (2004), over the root "
                   "of the number of features.";
        case DetectorKind::knn:
            return "Euclidean distance to the 5th nearest of up to 128 reference rows of the same layer, head and "
                   "position range.";
        case DetectorKind::lof:
            return "Local Outlier Factor (Breunig et al. 2000) among up to 128 reference rows of the same layer, head "
                   "and position range.";
        case DetectorKind::isolation_forest:
            return "Isolation forest (Liu et al. 2008) of 50 trees of 64 reference rows.";
        case DetectorKind::pca_residual:
            return "Distance from the span of the principal components that hold 90 % of the variance of up to 128 "
                   "reference rows.";
        case DetectorKind::ecod:
            return "Empirical tail probabilities, feature by feature (ECOD, Li et al. 2022), among up to 128 reference "
                   "rows.";
        default:
            return "Compares with a second set of texts: see Experiments.";
    }
}

// A combo of names, each with its tip. True: another one was chosen.
template <typename Kind, typename Name, typename Tip>
bool combo(const char* id, const char* label, const std::vector<Kind>& all, Kind& chosen, const Name& name,
           const Tip& tip, const char* about) {
    bool changed = false;
    ImGui::AlignTextToFramePadding();
    ImGui::TextUnformatted(label);
    tooltip(about);
    ImGui::SameLine(6 * em());
    ImGui::SetNextItemWidth(12 * em());
    if (ImGui::BeginCombo(id, name(chosen).c_str(), ImGuiComboFlags_HeightLarge)) {
        for (const Kind& one : all) {
            if (ImGui::Selectable(name(one).c_str(), one == chosen) && !(one == chosen)) chosen = one, changed = true;
            tooltip(tip(one));
        }
        ImGui::EndCombo();
    }
    tooltip(tip(chosen));
    return changed;
}

const char* pruning_tip(PruningKind kind) {
    switch (kind) {
        case PruningKind::none:
            return "Only the sums over all tokens.";
        case PruningKind::window:
            return "Sums over the last tokens alone, as a cache has them that keeps a sliding window.";
        case PruningKind::heavy:
            return "Sums over the token itself and those before it that have received most attention by then, per "
                   "layer and KV head: heavy hitters (Zhang et al. 2023).";
        default:
            return "Sums over all tokens, each weighted by the attention that it has received by then.";
    }
}

std::string pruning_name(PruningKind kind) {
    return kind == PruningKind::none     ? "whole cache"
           : kind == PruningKind::window ? "last tokens"
           : kind == PruningKind::heavy  ? "heavy hitters"
                                         : "attention mass";
}

}  // namespace

const char* form_formula(StateForm form) {
    switch (form) {
        case StateForm::read_out:
            return "phi(q_t) S_t / phi(q_t) n_t of each query head: what linear attention would output. Signed phi "
                   "(identity): phi(q_t) S_t / t.";
        case StateForm::mean_query:
            return "The read-out of the mean of each head's queries so far, q = (q_1 + ... + q_t) / t.";
        case StateForm::rows:
            return "S_t / n_t row by row: the mean value that each feature remembers, of each KV head. Through 16 "
                   "components and the norm of what they leave.";
        case StateForm::mean:
            return "S_t / t of each KV head: the default for signed phi, whose denominators may vanish. Through 16 "
                   "components and the norm of what they leave.";
        case StateForm::singular_values:
            return "Singular values of S_t / t of each KV head, descending.";
        case StateForm::singular_vectors:
            return "First left and right singular vectors of S_t / t of each KV head.";
    }
    return "";
}

std::string short_name(const AnomalyChoice& choice) {
    return to_string(choice.phi.kind) + (choice.phi.rotary ? " after rotary, " : ", ") + to_string(choice.form) + ", " +
           to_string(choice.detector);
}

float AnomalyChoiceForm::width() { return 9 * em(); }

void AnomalyChoiceForm::draw_phi(AnomalyChoice& choice) {
    const bool another = combo(
        "##phi", "phi", all_phi(), choice.phi.kind, [](PhiKind kind) { return to_string(kind); }, phi_formula,
        "Feature map of the linear-attention state S = sum of phi(k) v, n = sum of phi(k).");
    if (another) choice.form = default_form(choice.phi.kind);
    static const std::vector<int> kRotary{0, 1};
    int rotary = choice.phi.rotary ? 1 : 0;
    combo(
        "##rotary", "keys", kRotary, rotary,
        [](int after) { return std::string(after ? "after rotary" : "before rotary"); },
        [](int after) {
            return after ? "Keys and queries after rotary embedding: with their positions."
                         : "Keys and queries before rotary embedding: without their positions.";
        },
        "Whether phi sees keys and queries before or after rotary embedding.");
    choice.phi.rotary = rotary != 0;
}

void AnomalyChoiceForm::draw_pruning(Frame& frame) {
    static const std::vector<PruningKind> kKinds{PruningKind::none, PruningKind::window, PruningKind::heavy,
                                                 PruningKind::mass_weighted};
    Pruning pruning = frame.snapshot.pruning;
    combo("##prune", "cache", kKinds, pruning.kind, pruning_name, pruning_tip,
          "Sums over a part of the cache, or weighted, beside those over all of it: a second line over the tokens, and "
          "a map of its own.");
    if (pruning.kind == PruningKind::window || pruning.kind == PruningKind::heavy) {
        ImGui::SameLine();
        int count = static_cast<int>(pruning.count);
        ImGui::SetNextItemWidth(5 * em());
        if (ImGui::InputInt("##kept", &count, 0, 0, ImGuiInputTextFlags_EnterReturnsTrue))
            pruning.count = std::clamp<int64_t>(count, 1, kLargestPruning);
        tooltip("How many tokens are kept; Enter takes it.");
    }
    if (!(pruning == frame.snapshot.pruning)) frame.submit(command::SetPruning{pruning});
}

void AnomalyChoiceForm::draw_choices(Frame& frame) {
    const AnomalyChoice& wanted = frame.snapshot.reference->choice;
    AnomalyChoice choice = wanted;
    draw_phi(choice);
    combo(
        "##form", "form", all_forms(), choice.form, [](StateForm form) { return to_string(form); }, form_formula,
        "What is read of the state.");
    combo(
        "##detector", "detector", live_detectors(), choice.detector, [](DetectorKind kind) { return to_string(kind); },
        detector_tip,
        "How far a token's features lie from those of ordinary text. Relative and contrastive Mahalanobis compare with "
        "a second set of texts and are for Experiments.");
    if (!(choice == wanted)) frame.submit(command::SetAnomalyChoice{choice});
    ImGui::Separator();
    draw_pruning(frame);
}

void AnomalyChoiceForm::draw_button(Frame& frame) {
    const std::string name = short_name(frame.snapshot.anomaly_choice);
    flow(width());
    ImGui::PushStyleVar(ImGuiStyleVar_ButtonTextAlign, {0, 0.5f});  // the end may be cut off: the tooltip has it all
    if (ImGui::Button((name + "###choice").c_str(), {width(), 0})) ImGui::OpenPopup("choices");
    ImGui::PopStyleVar();
    if (!ImGui::IsPopupOpen("choices"))
        tooltip(("What is scored: " + name + ". Click to choose feature map, rotary embedding, form and detector.")
                    .c_str());
    if (ImGui::BeginPopup("choices")) {
        draw_choices(frame);
        draw_reference(frame);
        ImGui::EndPopup();
    }
}

void AnomalyChoiceForm::draw_reference(Frame& frame) const {
    const ReferenceView& view = *frame.snapshot.reference;
    const std::string name = short_name(view.choice);
    switch (view.state) {
        case ReferenceView::State::ready:
            return;
        case ReferenceView::State::fitting: {
            char text[200];
            std::snprintf(text, sizeof text, "%.0f %%  %s", 100 * view.progress, view.stage.c_str());
            const float room = std::max(12 * em(), ImGui::GetContentRegionAvail().x);
            progress_bar(static_cast<float>(view.progress), text,
                         room - ImGui::CalcTextSize("Cancel").x - 2 * em() - ImGui::GetStyle().ItemSpacing.x);
            ImGui::SameLine();
            if (ImGui::Button("Cancel##fit")) cancel_running(frame, kJob);
            tooltip(("Fitting the reference of " + name + ". Cancelled, it leaves nothing behind.").c_str());
            return;
        }
        case ReferenceView::State::failed:
            ImGui::PushStyleColor(ImGuiCol_Text, palette::bad);
            ImGui::PushTextWrapPos(ImGui::GetCursorPosX() + std::max(20 * em(), ImGui::GetContentRegionAvail().x));
            ImGui::TextUnformatted(view.error.c_str());
            ImGui::PopTextWrapPos();
            ImGui::PopStyleColor();
            [[fallthrough]];
        case ReferenceView::State::absent:
            ImGui::AlignTextToFramePadding();
            small_label(name + " has no reference yet.", palette::warning);
            flow(ImGui::CalcTextSize("Fit it").x + 2 * em());
            ImGui::BeginDisabled(frame.snapshot.sidecar->phase != Phase::ready);
            if (ImGui::Button("Fit it###fit")) frame.submit(command::FitReference{});
            ImGui::EndDisabled();
            tooltip(
                "Reads the sidecar's reference text with these choices in the background, about a minute for "
                "read-outs and some for other forms. It is kept; until then scores stay as they are.");
            return;
    }
}

}  // namespace savepoint::views
