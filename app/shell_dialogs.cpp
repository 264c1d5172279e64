// The shell's own questions and messages.

#include <imgui.h>

#include "app/shell.h"
#include "app/status_bar.h"
#include "app/theme.h"
#include "views/palette.h"
#include "views/widgets.h"

namespace savepoint::app {

using views::Frame;

namespace {

void centre_next(float width) {
    ImGui::SetNextWindowPos(ImGui::GetMainViewport()->GetCenter(), ImGuiCond_Appearing, {0.5f, 0.5f});
    ImGui::SetNextWindowSize({width, 0});
}

void title_text(const char* text) {
    ImGui::PushFont(Fonts::bold(), 0);
    ImGui::TextUnformatted(text);
    ImGui::PopFont();
    ImGui::Spacing();
}

bool primary_button(const char* label) {
    ImGui::PushStyleColor(ImGuiCol_Button, views::palette::accent_dim);
    const bool pressed = ImGui::Button(label, {7.5f * ImGui::GetFontSize(), 0});
    ImGui::PopStyleColor();
    return pressed;
}

bool plain_button(const char* label) { return ImGui::Button(label, {7.5f * ImGui::GetFontSize(), 0}); }

}  // namespace

void Shell::draw_error(Frame& frame) {
    const auto& errors = frame.snapshot.errors;
    constexpr const char* kName = "Something went wrong";
    if (!errors.empty()) {
        saving_ = false;
        // A failed save must not go on to what it was asked for.
        if (unsaved_for_ == nullptr) after_save_ = nullptr;
    }
    const bool fresh = !errors.empty() && errors.front().id != error_shown_;
    if (fresh && !ImGui::IsPopupOpen(nullptr, ImGuiPopupFlags_AnyPopupId | ImGuiPopupFlags_AnyPopupLevel)) {
        error_shown_ = errors.front().id;
        ImGui::OpenPopup(kName);
    } else if (fresh) {
        ui_.redraw_after(0.2);  // another dialog is open: wait for it
    }
    centre_next(30 * ImGui::GetFontSize());
    if (!ImGui::BeginPopupModal(kName, nullptr, ImGuiWindowFlags_NoTitleBar | ImGuiWindowFlags_NoResize)) return;
    if (errors.empty()) {
        ImGui::CloseCurrentPopup();
        ImGui::EndPopup();
        return;
    }
    const ErrorView& error = errors.front();
    title_text(views::drawable(error.title).c_str());
    ImGui::PushTextWrapPos(0);
    ImGui::TextUnformatted(views::drawable(error.message).c_str());
    ImGui::PopTextWrapPos();
    ImGui::Spacing();
    if (primary_button("Dismiss") || ImGui::IsKeyPressed(ImGuiKey_Escape, false)) {
        submit_(command::DismissError{error.id});
        ImGui::CloseCurrentPopup();
    }
    ImGui::SameLine();
    if (plain_button("Show log")) {
        submit_(command::DismissError{error.id});
        ImGui::CloseCurrentPopup();
        show_panel("Jobs and log");
    }
    ImGui::SameLine();
    if (plain_button("Copy")) ImGui::SetClipboardText((error.title + "\n" + error.message).c_str());
    ImGui::EndPopup();
}

void Shell::draw_unsaved(Frame& frame) {
    constexpr const char* kName = "Unsaved changes";
    const SessionView& session = frame.snapshot.session;
    if (after_save_ && saving_ && !session.modified) {
        saving_ = false;
        std::exchange(after_save_, nullptr)();
    }
    // The file dialog was left without a name: what was to follow the save is off.
    if (after_save_ && !unsaved_for_ && !saving_ && !files_.active()) after_save_ = nullptr;
    if (unsaved_for_ && !ImGui::IsPopupOpen(kName)) ImGui::OpenPopup(kName);
    centre_next(26 * ImGui::GetFontSize());
    if (!ImGui::BeginPopupModal(kName, nullptr, ImGuiWindowFlags_NoTitleBar | ImGuiWindowFlags_NoResize)) return;
    title_text(("Save \"" + views::drawable(session_name(session)) + "\" first?").c_str());
    ImGui::TextWrapped("There are changes that %s would lose.", unsaved_for_ ? unsaved_for_ : "this");
    ImGui::Spacing();
    bool done = false;
    if (primary_button("Save")) {
        done = true;
        save();
    }
    ImGui::SameLine();
    if (plain_button("Don't save")) {
        done = true;
        std::exchange(after_save_, nullptr)();
    }
    ImGui::SameLine();
    if (plain_button("Cancel") || ImGui::IsKeyPressed(ImGuiKey_Escape, false)) {
        done = true;
        after_save_ = nullptr;
    }
    if (done) {
        unsaved_for_ = nullptr;
        ImGui::CloseCurrentPopup();
    }
    ImGui::EndPopup();
}

void Shell::draw_about() {
    constexpr const char* kName = "About Savepoint";
    if (std::exchange(about_, false)) ImGui::OpenPopup(kName);
    centre_next(28 * ImGui::GetFontSize());
    if (!ImGui::BeginPopupModal(kName, nullptr, ImGuiWindowFlags_NoTitleBar | ImGuiWindowFlags_NoResize)) return;
    title_text("Savepoint " SAVEPOINT_VERSION);
    ImGui::TextWrapped(
        "Saves, inspects, edits and resumes the internal state of a local transformer, as a game saves and reloads.");
    ImGui::Spacing();
    ImGui::PushStyleColor(ImGuiCol_Text, views::palette::text_dim);
    ImGui::TextWrapped(
        "MIT licence. Built on Dear ImGui, ImPlot, GLFW, libtorch, ggml and llama.cpp. Fonts: Roboto (Apache 2.0) and "
        "Inconsolata (OFL).");
    ImGui::PopStyleColor();
    ImGui::Spacing();
    if (primary_button("Close") || ImGui::IsKeyPressed(ImGuiKey_Escape, false)) ImGui::CloseCurrentPopup();
    ImGui::EndPopup();
}

}  // namespace savepoint::app
