#include "views/anomaly_choice_form.h"

#include <imgui.h>

#include <algorithm>
#include <array>
#include <cstdio>

#include "views/chart.h"
#include "views/choice_names.h"
#include "views/palette.h"
#include "views/widgets.h"

namespace savepoint::views {
namespace {

constexpr const char* kJob = "Fitting the anomaly reference";

template <typename Kind>
std::string named(Kind kind) {
    return display_name(kind);
}

template <typename Kind>
const char* explained(Kind kind) {
    return formula(kind);
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

}  // namespace

void AnomalyChoiceForm::draw_phi(AnomalyChoice& choice) {
    const bool another = combo("##phi", "phi", all_phi(), choice.phi.kind, named<PhiKind>, explained<PhiKind>,
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
    combo("##prune", "cache", kKinds, pruning.kind, named<PruningKind>, explained<PruningKind>,
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
    combo("##form", "form", all_forms(), choice.form, named<StateForm>, explained<StateForm>,
          "What is read of the state.");
    combo(
        "##detector", "detector", live_detectors(), choice.detector, named<DetectorKind>, explained<DetectorKind>,
        "How far a token's features lie from those of ordinary text. Relative and contrastive Mahalanobis compare with "
        "a second set of texts and are for Experiments.");
    if (!(choice == wanted)) frame.submit(command::SetAnomalyChoice{choice});
    ImGui::Separator();
    draw_pruning(frame);
}

void AnomalyChoiceForm::draw_button(Frame& frame) {
    const std::string name = display_name(frame.snapshot.anomaly_choice);
    flow(button_width(name.c_str()));
    if (ImGui::Button((name + "###choice").c_str())) ImGui::OpenPopup("choices");
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
    const std::string name = display_name(view.choice);
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
