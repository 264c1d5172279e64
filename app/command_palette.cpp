#include "app/command_palette.h"

#include <imgui.h>
#include <imgui_stdlib.h>

#include <algorithm>
#include <cctype>
#include <sstream>

namespace savepoint::app {
namespace {

std::string lower(std::string text) {
    for (char& c : text) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
    return text;
}

}  // namespace

int match(const std::string& query, const std::string& name) {
    const std::string text = lower(name);
    std::istringstream words(lower(query));
    int score = 0;
    for (std::string word; words >> word;) {
        const size_t at = text.find(word);
        if (at == std::string::npos) return -1;
        const bool starts_word = at == 0 || text[at - 1] == ' ';
        score += (starts_word ? 20 : 5) + (at == 0 ? 10 : 0);
    }
    return score;
}

void CommandPalette::open(std::vector<Action> actions) {
    actions_ = std::move(actions);
    query_.clear();
    opening_ = active_ = true;
    filter();
}

void CommandPalette::filter() {
    std::vector<std::pair<int, size_t>> scored;
    for (size_t i = 0; i < actions_.size(); ++i)
        if (const int score = match(query_, actions_[i].name); score >= 0) scored.push_back({-score, i});
    std::stable_sort(scored.begin(), scored.end());
    shown_.clear();
    for (const auto& [score, index] : scored) shown_.push_back(index);
    chosen_ = 0;
}

void CommandPalette::draw() {
    if (!active_) return;
    if (opening_) ImGui::OpenPopup("Command palette");
    const ImGuiViewport& view = *ImGui::GetMainViewport();
    const float em = ImGui::GetFontSize(), width = std::min(38 * em, 0.9f * view.WorkSize.x);
    ImGui::SetNextWindowPos({view.WorkPos.x + view.WorkSize.x / 2, view.WorkPos.y + 0.12f * view.WorkSize.y},
                            ImGuiCond_Always, {0.5f, 0});
    ImGui::SetNextWindowSize({width, 0});
    if (!ImGui::BeginPopup("Command palette", ImGuiWindowFlags_NoMove)) {
        active_ = false;
        return;
    }
    if (opening_) ImGui::SetKeyboardFocusHere();
    opening_ = false;
    const int last = static_cast<int>(shown_.size()) - 1;
    moved_ = ImGui::IsKeyPressed(ImGuiKey_DownArrow) || ImGui::IsKeyPressed(ImGuiKey_UpArrow);
    if (ImGui::IsKeyPressed(ImGuiKey_DownArrow)) chosen_ = std::min(chosen_ + 1, last);
    if (ImGui::IsKeyPressed(ImGuiKey_UpArrow)) chosen_ = std::max(chosen_ - 1, 0);
    ImGui::SetNextItemWidth(-FLT_MIN);
    const bool enter =
        ImGui::InputTextWithHint("##query", "What do you want to do?", &query_, ImGuiInputTextFlags_EnterReturnsTrue);
    if (ImGui::IsItemEdited()) filter();
    draw_list(std::min(22 * em, 0.6f * view.WorkSize.y));
    std::function<void()> run;
    if (enter && chosen_ >= 0 && chosen_ < static_cast<int>(shown_.size())) run = actions_[shown_[chosen_]].run;
    if (run || ImGui::IsKeyPressed(ImGuiKey_Escape, false)) {
        active_ = false;
        ImGui::CloseCurrentPopup();
    }
    ImGui::EndPopup();
    if (run) run();
}

void CommandPalette::draw_list(float height) {
    ImGui::BeginChild("actions", {0, height});
    if (shown_.empty()) ImGui::TextDisabled("Nothing of that name.");
    std::function<void()> run;
    for (size_t row = 0; row < shown_.size(); ++row) {
        const Action& action = actions_[shown_[row]];
        const float right = ImGui::GetCursorPosX() + ImGui::GetContentRegionAvail().x;
        const bool chosen = static_cast<int>(row) == chosen_;
        if (ImGui::Selectable(action.name.c_str(), chosen)) run = action.run;
        if (chosen && moved_) ImGui::SetScrollHereY(0.5f);
        if (action.shortcut.empty()) continue;
        ImGui::SameLine(right - ImGui::CalcTextSize(action.shortcut.c_str()).x - 4);
        ImGui::TextDisabled("%s", action.shortcut.c_str());
    }
    ImGui::EndChild();
    if (!run) return;
    active_ = false;
    ImGui::CloseCurrentPopup();
    run();
}

}  // namespace savepoint::app
