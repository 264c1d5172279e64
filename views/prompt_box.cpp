#include "views/prompt_box.h"

#include <imgui.h>
#include <imgui_internal.h>
#include <imgui_stdlib.h>

#include <algorithm>
#include <cstdio>

#include "views/palette.h"
#include "views/widgets.h"

namespace savepoint::views {
namespace {

constexpr float kInputLines = 3.0f, kSystemLines = 2.0f;

// A thin hint over an empty input, where its text will be.
void hint_over_last_item(const char* hint) {
    const ImVec2 at = ImGui::GetItemRectMin(), pad = ImGui::GetStyle().FramePadding;
    const float width = ImGui::GetItemRectSize().x - 2 * pad.x;
    ImGui::GetWindowDrawList()->AddText(nullptr, 0, {at.x + pad.x, at.y + pad.y}, with_alpha(palette::text_dim, 0.9f),
                                        hint, nullptr, width);
}

// Any Enter but Shift+Enter sends instead of breaking the line, also where Dear ImGui would break it. What is pasted
// keeps its line breaks.
int take_line_break(ImGuiInputTextCallbackData* data) {
    if (data->EventChar != '\n' || ImGui::GetIO().KeyShift) return 0;
    if (!ImGui::IsKeyPressed(ImGuiKey_Enter) && !ImGui::IsKeyPressed(ImGuiKey_KeypadEnter)) return 0;
    *static_cast<bool*>(data->UserData) = true;
    return 1;
}

void setting(const char* label, const char* help) {
    ImGui::TableNextRow();
    ImGui::TableNextColumn();
    ImGui::AlignTextToFramePadding();
    ImGui::TextUnformatted(label);
    tooltip(help);
    ImGui::TableNextColumn();
    ImGui::SetNextItemWidth(-FLT_MIN);
}

void draw_cutoffs(SamplerSettings& sampler) {
    ImGui::BeginDisabled(sampler.greedy);
    setting("Temperature", "Divides the logits: below 1 is safer, above 1 more varied.");
    ImGui::SliderFloat("##temperature", &sampler.temperature, 0.05f, 2.0f, "%.2f", ImGuiSliderFlags_AlwaysClamp);
    setting("Top-k", "Only the k most likely tokens may be drawn; 0: off.");
    ImGui::SliderInt("##top_k", &sampler.top_k, 0, 200, sampler.top_k ? "%d tokens" : "off",
                     ImGuiSliderFlags_AlwaysClamp);
    setting("Top-p", "Only the likeliest tokens that together reach this probability may be drawn; 1: off.");
    ImGui::SliderFloat("##top_p", &sampler.top_p, 0.05f, 1.0f, sampler.top_p < 1 ? "%.2f" : "off",
                       ImGuiSliderFlags_AlwaysClamp);
    setting("Min-p", "Only tokens at least this fraction as likely as the likeliest may be drawn; 0: off.");
    ImGui::SliderFloat("##min_p", &sampler.min_p, 0.0f, 0.5f, sampler.min_p > 0 ? "%.2f" : "off",
                       ImGuiSliderFlags_AlwaysClamp);
    setting(
        "Seed",
        "The random number of a token depends on the seed and its position alone: the same seed gives the same text.");
    const uint64_t step = 1;
    ImGui::InputScalar("##seed", ImGuiDataType_U64, &sampler.seed, &step);
    ImGui::EndDisabled();
}

}  // namespace

std::string summary(const GenerateSettings& settings) {
    char buffer[128];
    const SamplerSettings& s = settings.sampler;
    const auto tokens = static_cast<long long>(settings.max_tokens);
    if (s.greedy)
        std::snprintf(buffer, sizeof buffer, "Greedy \xC2\xB7 %lld tokens", tokens);
    else
        std::snprintf(buffer, sizeof buffer, "T %.2g \xC2\xB7 seed %llu \xC2\xB7 %lld tokens", s.temperature,
                      static_cast<unsigned long long>(s.seed), tokens);
    return buffer;
}

void draw_generate_settings(GenerateSettings& settings) {
    const float em = ImGui::GetFontSize();
    ImGui::TextDisabled("How tokens are drawn, in every panel");
    if (!ImGui::BeginTable("settings", 2)) return;
    ImGui::TableSetupColumn("name", ImGuiTableColumnFlags_WidthFixed, 7.5f * em);
    ImGui::TableSetupColumn("value", ImGuiTableColumnFlags_WidthFixed, 12 * em);
    setting("Greedy", "Always the most likely token; the settings below then do nothing.");
    ImGui::Checkbox("##greedy", &settings.sampler.greedy);
    draw_cutoffs(settings.sampler);
    setting("Most tokens", "Generation stops after so many new tokens.");
    int most = static_cast<int>(settings.max_tokens);
    if (ImGui::InputInt("##max_tokens", &most, 16, 128)) settings.max_tokens = std::clamp(most, 1, 8192);
    setting("Ignore end", "Goes on after an end-of-text or end-of-turn token.");
    ImGui::Checkbox("##ignore_end", &settings.ignore_end);
    ImGui::EndTable();
}

float PromptBox::height() const {
    const float line = ImGui::GetTextLineHeight(), frame = ImGui::GetFrameHeightWithSpacing();
    const ImGuiStyle& style = ImGui::GetStyle();
    float height = 2 * frame + kInputLines * line + 2 * style.FramePadding.y + style.ItemSpacing.y;
    if (chat() && show_system_) height += kSystemLines * line + 2 * style.FramePadding.y + style.ItemSpacing.y;
    return height;
}

void PromptBox::draw(Frame& frame) {
    const ModelView& model = *frame.snapshot.model;
    has_template_ = model.phase != Phase::ready || model.has_chat_template;
    draw_mode(frame);
    draw_input(frame);
    draw_buttons(frame);
}

void PromptBox::draw_mode(const Frame& frame) {
    const ModelView& model = *frame.snapshot.model;
    ImGui::BeginDisabled(!has_template_);
    if (ImGui::RadioButton("Chat", chat())) chat_ = true;
    ImGui::EndDisabled();
    tooltip(has_template_ ? "The prompt becomes a user turn in the model's chat template."
                          : "This model's file has no chat template: it goes on from raw text.");
    ImGui::SameLine();
    if (ImGui::RadioButton("Raw text", !chat())) chat_ = false;
    tooltip("The prompt is fed as it is; special tokens written in it are recognised.");
    if (!chat()) return;
    ImGui::SameLine(0, 1.2f * ImGui::GetFontSize());
    ImGui::Checkbox("System prompt", &show_system_);
    tooltip("Shows the system prompt of the chat template. Unchanged, the template's own default is used.");
    if (!show_system_) return;
    if (!own_system_) system_ = model.default_system_prompt;
    const float height = kSystemLines * ImGui::GetTextLineHeight() + 2 * ImGui::GetStyle().FramePadding.y;
    if (ImGui::InputTextMultiline("##system", &system_, {-FLT_MIN, height}, ImGuiInputTextFlags_WordWrap))
        own_system_ = true;
    if (system_.empty()) hint_over_last_item("No system prompt");
}

void PromptBox::draw_input(Frame& frame) {
    if (frame.ui.focus_prompt || refocus_) {
        ImGui::SetKeyboardFocusHere();
        frame.ui.focus_prompt = refocus_ = false;
    }
    const ImGuiInputTextFlags flags = ImGuiInputTextFlags_EnterReturnsTrue | ImGuiInputTextFlags_CtrlEnterForNewLine |
                                      ImGuiInputTextFlags_WordWrap | ImGuiInputTextFlags_CallbackCharFilter;
    const float height = kInputLines * ImGui::GetTextLineHeight() + 2 * ImGui::GetStyle().FramePadding.y;
    bool line_break = false;
    const bool entered =
        ImGui::InputTextMultiline("##prompt", &prompt_, {-FLT_MIN, height}, flags, take_line_break, &line_break);
    // What is typed in a script that no loaded font has: asks for one that does.
    if (ImGui::IsItemEdited()) drawable(prompt_);
    if (prompt_.empty())
        hint_over_last_item(chat() ? "Ask the model something. Enter sends, Shift+Enter breaks the line"
                                   : "Text for the model to go on from");
    if (!entered && !line_break) return;
    const ImGuiID input = ImGui::GetItemID();
    send(frame, chat() ? frame.snapshot.current : 0);
    // An input that is still active keeps its own copy of the text.
    if (ImGuiInputTextState* state = ImGui::GetInputTextState(input)) state->ReloadUserBufAndSelectAll();
}

void PromptBox::draw_buttons(Frame& frame) {
    const Snapshot& s = frame.snapshot;
    const bool ready = s.model->phase == Phase::ready;
    ImGui::BeginDisabled(!ready);
    ImGui::PushStyleColor(ImGuiCol_Button, palette::accent_dim);
    if (ImGui::Button("Generate")) send(frame, 0);
    ImGui::PopStyleColor();
    tooltip(ready ? "Starts a new thought from this prompt alone." : "The model is still being loaded.");
    ImGui::SameLine();
    ImGui::BeginDisabled(s.current == 0 || !chat());
    if (ImGui::Button("Reply")) send(frame, s.current);
    ImGui::EndDisabled();
    tooltip("The prompt becomes the next turn after the end of the current thought. Enter does this too.");
    ImGui::SameLine();
    ImGui::BeginDisabled(s.current == 0);
    if (ImGui::Button("Continue")) frame.submit(command::Continue{s.current, frame.ui.generate});
    tooltip("Goes on from the end of the current thought, as a new thought.");
    ImGui::EndDisabled();
    ImGui::EndDisabled();
    ImGui::SameLine();
    ImGui::BeginDisabled(!s.status.generating);
    if (ImGui::Button("Stop")) frame.submit(command::Stop{});
    tooltip("Stops within one token; what was generated stays. (Escape)");
    ImGui::EndDisabled();
    ImGui::SameLine();
    const float room = ImGui::GetContentRegionAvail().x, padding = 2 * ImGui::GetStyle().FramePadding.x;
    std::string settings = summary(frame.ui.generate);
    if (ImGui::CalcTextSize(settings.c_str()).x + padding > room) settings = "Sampling";
    const float width = ImGui::CalcTextSize(settings.c_str()).x + padding;
    if (room > width) ImGui::SetCursorPosX(ImGui::GetCursorPosX() + room - width);
    if (ImGui::Button((settings + "###sampling").c_str())) ImGui::OpenPopup("sampling settings");
    tooltip("How tokens are drawn: temperature, cut-offs, seed, length.");
    if (ImGui::BeginPopup("sampling settings")) {
        draw_generate_settings(frame.ui.generate);
        ImGui::EndPopup();
    }
}

void PromptBox::send(Frame& frame, ThoughtId after) {
    if (frame.snapshot.model->phase != Phase::ready) return;
    command::Generate generate;
    generate.prompt = prompt_;
    generate.chat = chat();
    generate.settings = frame.ui.generate;
    generate.after = after;
    if (chat() && own_system_ && after == 0) generate.system = system_;
    frame.submit(generate);
    if (!prompt_.empty()) prompt_.clear();
    refocus_ = true;
}

}  // namespace savepoint::views
