#include "app/status_bar.h"

#include <imgui.h>
#include <imgui_internal.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <filesystem>

#include "views/palette.h"
#include "views/widgets.h"

namespace savepoint::app {
namespace {

using namespace views;

bool part(const std::string& text, const char* help, bool dim = true) {  // true: clicked
    const float width = ImGui::CalcTextSize(text.c_str()).x, em = ImGui::GetFontSize();
    if (ImGui::GetContentRegionAvail().x < width + 2 * em) return false;
    ImGui::AlignTextToFramePadding();
    if (dim)
        ImGui::TextDisabled("%s", text.c_str());
    else
        ImGui::TextUnformatted(text.c_str());
    tooltip(help);
    const bool clicked = ImGui::IsItemClicked();
    ImGui::SameLine(0, 1.3f * em);
    return clicked;
}

std::string printed(const char* format, double value) {
    char buffer[64];
    std::snprintf(buffer, sizeof buffer, format, value);
    return buffer;
}

void draw_model(const Snapshot& s) {
    const ModelView& model = *s.model;
    switch (model.phase) {
        case Phase::absent:
            part("No model", "File > Open model chooses one.", false);
            return;
        case Phase::failed:
            part("The model could not be loaded", model.error.c_str(), false);
            return;
        case Phase::working:
            progress_bar(static_cast<float>(model.progress), "loading " + model_name(model), 20 * ImGui::GetFontSize());
            ImGui::SameLine(0, 1.3f * ImGui::GetFontSize());
            return;
        case Phase::ready:
            break;
    }
    part(model_name(model), (model.path + "\nIt calls itself \"" + model.name + "\" (general.name).").c_str(), false);
    part(model.precision + " on " + model.device +
             (s.status.threads > 0
                  ? ", " + std::to_string(s.status.threads) + (s.status.threads == 1 ? " thread" : " threads")
                  : ""),
         "Precision of the forward pass, the device that computes it, and the processor threads in use.");
    if (s.status.tokens_per_second > 0)
        part(printed("%.1f tokens/s", s.status.tokens_per_second), "Speed of the running or last generation.");
    if (s.status.resident_bytes > 0)
        part("memory " + format_bytes(static_cast<double>(s.status.resident_bytes)),
             "Memory that the whole program holds now (resident), the model's weights included.");
}

// What the states of all thoughts take, of what they may: a button without a frame.
bool draw_states(const StatusView& status) {
    if (status.rows_bytes <= 0 && status.memory_budget <= 0) return false;
    std::string text = "states " + format_bytes(static_cast<double>(status.rows_bytes));
    if (status.memory_budget > 0) text += " of " + format_bytes(static_cast<double>(status.memory_budget));
    if (ImGui::GetContentRegionAvail().x < ImGui::CalcTextSize(text.c_str()).x + 2 * ImGui::GetFontSize()) return false;
    const bool full = status.memory_budget > 0 && status.rows_bytes > 0.9 * static_cast<double>(status.memory_budget);
    ImGui::PushStyleColor(ImGuiCol_Button, IM_COL32_BLACK_TRANS);
    ImGui::PushStyleColor(ImGuiCol_Border, IM_COL32_BLACK_TRANS);
    ImGui::PushStyleColor(ImGuiCol_Text, full ? palette::warning : palette::text_dim);
    const bool clicked = ImGui::Button((text + "###states").c_str());
    ImGui::PopStyleColor(3);
    tooltip(
        "Memory of the hidden states, keys and values of all thoughts, and the limit that they keep to: above it, "
        "thoughts that are not shown are reduced to their tokens and edits, and computed again when you go there. "
        "Click to change the limit.");
    ImGui::SameLine(0, 0.8f * ImGui::GetFontSize());
    return clicked;
}

const JobView* running_job(const std::vector<JobView>& jobs) {
    for (auto job = jobs.rbegin(); job != jobs.rend(); ++job)
        if (job->state == JobView::State::running) return &*job;
    return nullptr;
}

void draw_job(Frame& frame, float reserved) {
    const JobView* job = running_job(*frame.snapshot.jobs);
    if (!job) return;
    const float em = ImGui::GetFontSize();
    const float room = ImGui::GetContentRegionAvail().x - reserved - (job->cancellable ? 5 * em : em);
    if (room < 6 * em) return;
    std::string text = job->name;
    if (!job->message.empty() && room > 16 * em) text += ": " + job->message;
    if (!std::isnan(job->seconds_left) && room > 20 * em) text += ", " + format_duration(job->seconds_left) + " left";
    progress_bar(static_cast<float>(job->progress), text, std::min(room, 26 * em));
    tooltip((job->name + ": " + job->message).c_str());
    if (!job->cancellable) return;
    ImGui::SameLine(0, 0.4f * em);
    if (ImGui::Button("Cancel")) frame.submit(command::CancelJob{job->id});
}

}  // namespace

std::string session_name(const SessionView& session) {
    if (session.folder.empty()) return "Untitled";
    const std::filesystem::path path = session.folder;
    return path.has_filename() ? path.stem().string() : path.parent_path().stem().string();
}

bool draw_status_bar(Frame& frame) {
    const Snapshot& s = frame.snapshot;
    const float height = ImGui::GetFrameHeight() + 4;
    const ImGuiWindowFlags flags =
        ImGuiWindowFlags_NoScrollbar | ImGuiWindowFlags_NoSavedSettings | ImGuiWindowFlags_NoDocking;
    ImGui::PushStyleVar(ImGuiStyleVar_WindowPadding, ImVec2(10, 2));
    ImGui::PushStyleVar(ImGuiStyleVar_WindowBorderSize, 0.0f);
    ImGui::PushStyleColor(ImGuiCol_WindowBg, palette::background);
    bool memory = false;
    if (ImGui::BeginViewportSideBar("##Status", ImGui::GetMainViewport(), ImGuiDir_Down, height, flags)) {
        const std::string name = drawable(session_name(s.session)) + (s.session.read_only ? " (read-only)" : "");
        const float em = ImGui::GetFontSize(), width = ImGui::CalcTextSize(name.c_str()).x + 1.4f * em;
        draw_model(s);
        memory = draw_states(s.status);
        draw_job(frame, width + em);
        ImGui::SameLine(std::max(ImGui::GetCursorPosX(), ImGui::GetWindowWidth() - 10 - width));
        ImGui::AlignTextToFramePadding();
        const ImVec2 at = ImGui::GetCursorScreenPos();
        if (s.session.modified)
            ImGui::GetWindowDrawList()->AddCircleFilled({at.x + 0.5f * em, at.y + ImGui::GetFrameHeight() / 2},
                                                        0.28f * em, palette::warning, 16);
        ImGui::SetCursorPosX(ImGui::GetCursorPosX() + 1.2f * em);
        ImGui::TextUnformatted(name.c_str());
        tooltip((std::string(s.session.folder.empty() ? "Never saved" : drawable(s.session.folder)) +
                 (s.session.modified ? "\nUnsaved changes" : "\nSaved") +
                 (s.session.read_only ? "\nOpen in another process: Save asks for another name" : ""))
                    .c_str());
    }
    ImGui::End();
    ImGui::PopStyleColor();
    ImGui::PopStyleVar(2);
    return memory;
}

}  // namespace savepoint::app
