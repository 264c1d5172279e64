#include "app/memory_dialog.h"

#include <imgui.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <utility>

#include "app/theme.h"
#include "views/palette.h"
#include "views/widgets.h"

namespace savepoint::app {
namespace {

constexpr const char* kName = "Memory for states";
constexpr double kGigabyte = 1e9, kLeast = 0.05, kMost = 4096, kFirstOffer = 8;  // gigabytes

void explain(const StatusView& status) {
    ImGui::PushFont(Fonts::bold(), 0);
    ImGui::TextUnformatted(kName);
    ImGui::PopFont();
    ImGui::Spacing();
    ImGui::TextWrapped("The states of all thoughts take %s now.",
                       views::format_bytes(static_cast<double>(status.rows_bytes)).c_str());
    ImGui::PushStyleColor(ImGuiCol_Text, views::palette::text_dim);
    ImGui::TextWrapped(
        "Above the limit, states of thoughts that are not shown are dropped: hidden states first, then keys and "
        "values. They are computed again, bit for bit, when you go back there. Edits and tokens are always kept.");
    ImGui::PopStyleColor();
    ImGui::Spacing();
}

}  // namespace

void MemoryDialog::open(const StatusView& status) {
    opening_ = true;
    limited_ = status.memory_budget > 0;
    gigabytes_ = limited_ ? static_cast<double>(status.memory_budget) / kGigabyte : kFirstOffer;
}

std::optional<int64_t> MemoryDialog::draw(const StatusView& status) {
    if (std::exchange(opening_, false)) ImGui::OpenPopup(kName);
    const float em = ImGui::GetFontSize();
    ImGui::SetNextWindowPos(ImGui::GetMainViewport()->GetCenter(), ImGuiCond_Appearing, {0.5f, 0.5f});
    ImGui::SetNextWindowSize({28 * em, 0});
    if (!ImGui::BeginPopupModal(kName, nullptr, ImGuiWindowFlags_NoTitleBar | ImGuiWindowFlags_NoResize))
        return std::nullopt;
    explain(status);
    ImGui::Checkbox("Limit", &limited_);
    ImGui::SameLine();
    ImGui::BeginDisabled(!limited_);
    ImGui::SetNextItemWidth(10 * em);
    ImGui::InputDouble("GB##limit", &gigabytes_, 0.5, 4, "%.2f");
    gigabytes_ = std::isfinite(gigabytes_) ? std::clamp(gigabytes_, kLeast, kMost) : kFirstOffer;
    ImGui::EndDisabled();
    ImGui::Spacing();
    std::optional<int64_t> accepted;
    ImGui::PushStyleColor(ImGuiCol_Button, views::palette::accent_dim);
    if (ImGui::Button("Apply", {7.5f * em, 0})) accepted = limited_ ? std::llround(gigabytes_ * kGigabyte) : 0;
    ImGui::PopStyleColor();
    ImGui::SameLine();
    const bool cancel = ImGui::Button("Cancel", {7.5f * em, 0}) || ImGui::IsKeyPressed(ImGuiKey_Escape, false);
    if (accepted || cancel) ImGui::CloseCurrentPopup();
    ImGui::EndPopup();
    return accepted;
}

}  // namespace savepoint::app
