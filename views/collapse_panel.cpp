#include "views/collapse_panel.h"

#include <imgui.h>
#include <misc/cpp/imgui_stdlib.h>

#include <algorithm>
#include <array>
#include <cmath>

#include "views/palette.h"
#include "views/run_pair.h"
#include "views/widgets.h"

namespace savepoint::views {
namespace {

const std::array<std::string, 3> kSubjects{"Latents", "Sidecar", "Soft prompts"};

std::string one_line_of(const std::string& text) { return drawable(visible(text)); }

}  // namespace

void CollapsePanel::draw_request(Frame& frame) {
    int subject = static_cast<int>(settings_.subject);
    if (segmented("subject", kSubjects, subject, 0, {},
                  "Latents: the codes z. Sidecar: the states that it decodes from them. Soft prompts: vectors from a "
                  "safetensors file, prompts [n, length, d_model], with target_ids [n, tokens] where there are right "
                  "answers."))
        settings_.subject = static_cast<CollapseSubject>(subject);
    const bool soft = settings_.subject == CollapseSubject::soft_prompts;
    flow(12 * em());
    if (soft) {
        ImGui::SetNextItemWidth(std::max(8 * em(), ImGui::GetContentRegionAvail().x - 7 * em()));
        ImGui::InputTextWithHint("##file", "file.safetensors", &settings_.file);
    } else {
        ImGui::SetNextItemWidth(4 * em());
        int prompts = static_cast<int>(settings_.prompts), prefix = static_cast<int>(settings_.prefix);
        if (ImGui::InputInt("texts", &prompts, 0)) settings_.prompts = std::clamp(prompts, 2, 512);
        tooltip("How many held-out texts are read.");
        flow(8 * em());
        ImGui::SetNextItemWidth(4 * em());
        if (ImGui::InputInt("tokens", &prefix, 0)) settings_.prefix = std::clamp(prefix, 8, 1024);
        tooltip("Tokens of each text that are coded and decoded before the model goes on.");
    }
    flow(button_width("Diagnose"));
    const bool sidecar = frame.snapshot.sidecar->phase == Phase::ready;
    const bool can = frame.snapshot.model->phase == Phase::ready && (soft ? !settings_.file.empty() : sidecar);
    ImGui::BeginDisabled(!can);
    if (ImGui::Button("Diagnose")) frame.submit(command::Diagnose{settings_});
    ImGui::EndDisabled();
    tooltip(can    ? "Reads the texts, goes on from what is decoded and from the model's own states, and compares."
            : soft ? "Name a file of soft prompts."
                   : "A sidecar has to be fitted first, under Model and sidecar.");
}

void CollapsePanel::draw_table(const DiagnosisView& view) const {
    constexpr ImGuiTableFlags flags =
        ImGuiTableFlags_RowBg | ImGuiTableFlags_BordersInnerH | ImGuiTableFlags_SizingStretchProp;
    if (!ImGui::BeginTable("signs", 4, flags)) return;
    ImGui::TableSetupColumn("sign", 0, 2.6f);
    ImGui::TableSetupColumn("value", 0, 1);
    ImGui::TableSetupColumn("the model's own", 0, 1.3f);
    ImGui::TableSetupColumn("healthy", 0, 1.3f);
    ImGui::TableHeadersRow();
    for (const CollapseMetric& metric : view.report.metrics) {
        ImGui::TableNextRow();
        ImGui::TableNextColumn();
        const ImU32 colour = !metric.judged() ? palette::text_dim : metric.healthy() ? palette::good : palette::bad;
        const ImVec2 at = ImGui::GetCursorScreenPos();
        ImGui::GetWindowDrawList()->AddCircleFilled({at.x + 0.4f * em(), at.y + 0.55f * ImGui::GetTextLineHeight()},
                                                    0.32f * em(), colour);
        ImGui::SetCursorPosX(ImGui::GetCursorPosX() + 1.1f * em());
        ImGui::TextUnformatted(metric.label.c_str());
        tooltip(metric.meaning.c_str());
        ImGui::TableNextColumn();
        ImGui::PushStyleColor(ImGuiCol_Text, colour);
        ImGui::TextUnformatted(format_number(metric.value).c_str());
        ImGui::PopStyleColor();
        tooltip(metric.meaning.c_str());
        ImGui::TableNextColumn();
        ImGui::TextUnformatted(format_number(metric.reference).c_str());
        tooltip("The same of the model's own states, or of what it says from them.");
        ImGui::TableNextColumn();
        ImGui::TextUnformatted(metric.threshold.c_str());
        tooltip(metric.meaning.c_str());
    }
    ImGui::EndTable();
}

void CollapsePanel::draw_outputs(const DiagnosisView& view) const {
    section("What came out", "Greedy continuations after each text: from the decoded state, and from the model's own.");
    constexpr ImGuiTableFlags flags =
        ImGuiTableFlags_RowBg | ImGuiTableFlags_ScrollY | ImGuiTableFlags_SizingStretchSame;
    if (!ImGui::BeginTable("outputs", 2, flags, ImGui::GetContentRegionAvail())) return;
    ImGui::TableSetupScrollFreeze(0, 1);
    ImGui::TableSetupColumn("from what was decoded");
    ImGui::TableSetupColumn("expected");
    ImGui::TableHeadersRow();
    for (size_t i = 0; i < view.outputs.size(); ++i) {
        ImGui::TableNextRow();
        ImGui::TableNextColumn();
        ImGui::TextUnformatted(one_line_of(view.outputs[i]).c_str());
        ImGui::TableNextColumn();
        if (i < view.expected.size()) ImGui::TextUnformatted(one_line_of(view.expected[i]).c_str());
    }
    ImGui::EndTable();
}

void CollapsePanel::draw(Frame& frame) {
    draw_request(frame);
    const auto& view = frame.snapshot.diagnosis;
    if (!view) {
        empty_state(
            "Nothing diagnosed yet",
            "Diagnose reads some texts, decodes their codes and lets the model go on: if they come back alike, the "
            "codes have collapsed.");
        return;
    }
    causal_progress(frame, view->state, view->progress, std::to_string(view->report.prompts_done) + " prompts",
                    view->error, "Looking for collapse");
    if (view->report.metrics.empty()) return;
    draw_table(*view);
    draw_outputs(*view);
}

std::vector<std::pair<std::string, std::function<void(Frame&)>>> CollapsePanel::actions() {
    return {{"Look for signs of collapse of the sidecar", [this](Frame& frame) {
                 frame.submit(command::Diagnose{settings_});
                 frame.ui.show_panel = title();
             }}};
}

}  // namespace savepoint::views
