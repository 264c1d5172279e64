#include "views/model_panel.h"

#include <imgui.h>
#include <imgui_stdlib.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>

#include "views/chart.h"
#include "views/palette.h"
#include "views/widgets.h"

namespace savepoint::views {
namespace {

std::string grouped(int64_t value) {
    std::string digits = std::to_string(value);
    for (int at = static_cast<int>(digits.size()) - 3; at > 0; at -= 3) digits.insert(static_cast<size_t>(at), ",");
    return digits;
}

bool begin_properties(const char* id) {
    const float em = ImGui::GetFontSize();
    if (!ImGui::BeginTable(id, 2)) return false;
    ImGui::TableSetupColumn("name", ImGuiTableColumnFlags_WidthFixed, 9 * em);
    ImGui::TableSetupColumn("value", ImGuiTableColumnFlags_WidthStretch);
    return true;
}

void hash_row(const char* name, const std::string& hash, const char* id, const char* help) {
    ImGui::TableNextRow();
    ImGui::TableNextColumn();
    ImGui::AlignTextToFramePadding();
    ImGui::TextDisabled("%s", name);
    tooltip(help);
    ImGui::TableNextColumn();
    ImGui::AlignTextToFramePadding();
    ImGui::TextUnformatted((hash.substr(0, 16) + (hash.size() > 16 ? "..." : "")).c_str());
    tooltip(hash.c_str());
    ImGui::SameLine();
    ImGui::PushID(id);
    if (ImGui::SmallButton("Copy")) ImGui::SetClipboardText(hash.c_str());
    ImGui::PopID();
}

void heading(const char* text) { ImGui::SeparatorText(text); }

void count_input(const char* label, const char* help, int64_t& value, int64_t step, int64_t least, int64_t most) {
    ImGui::TableNextRow();
    ImGui::TableNextColumn();
    ImGui::AlignTextToFramePadding();
    ImGui::TextDisabled("%s", label);
    tooltip(help);
    ImGui::TableNextColumn();
    ImGui::SetNextItemWidth(-FLT_MIN);
    char id[64];
    std::snprintf(id, sizeof id, "##%s", label);
    ImGui::InputScalar(id, ImGuiDataType_S64, &value, &step);
    tooltip(help);
    value = std::clamp(value, least, most);
}

}  // namespace

void ModelPanel::draw(Frame& frame) {
    const ModelView& model = *frame.snapshot.model;
    if (model.phase == Phase::absent) {
        empty_state("No model", "Choose a GGUF file with File > Open model.");
        return;
    }
    ImGui::BeginChild("scroll");
    draw_model(model);
    if (model.phase == Phase::ready) draw_sidecar(frame);
    ImGui::EndChild();
}

void ModelPanel::draw_model(const ModelView& model) {
    heading("Model");
    ImGui::TextUnformatted(model_name(model).c_str());
    tooltip("The file's name without its ending.");
    if (model.phase == Phase::working) return progress_bar(static_cast<float>(model.progress), "loading", 0);
    if (model.phase == Phase::failed) {
        ImGui::PushStyleColor(ImGuiCol_Text, palette::bad);
        ImGui::TextWrapped("%s", model.error.c_str());
        ImGui::PopStyleColor();
        return;
    }
    if (!begin_properties("model")) return;
    property("File", drawable(model.path));
    property("general.name", drawable(model.name), "What the file calls itself.");
    property("File size", format_bytes(static_cast<double>(model.file_bytes)), "On disk.");
    hash_row("SHA-256", model.sha256, "model hash",
             "Of the whole file. Sessions and sidecars name it and refuse another model.");
    property("In memory", format_bytes(static_cast<double>(model.weight_bytes)),
             "What the weights take in memory, in the precision that is computed in.");
    property("Computed on", model.device + ", " + model.precision, "Device and precision of the forward pass.");
    property("Chat template", model.has_chat_template ? "yes" : "no: prompts are raw text");
    ImGui::EndTable();
    draw_shapes(model);
}

void ModelPanel::draw_shapes(const ModelView& m) {
    const struct {
        const char *name, *help;
        int64_t value;
    } shapes[] = {{"blocks", "Transformer blocks (layers).", m.layers},
                  {"d_model", "Width of the residual stream.", m.d_model},
                  {"d_ff", "Width of the feed-forward layer.", m.d_ff},
                  {"heads", "Query heads per block.", m.heads},
                  {"KV heads", "Key and value heads per block; several query heads share one.", m.kv_heads},
                  {"head dim", "Width of a head.", m.head_dim},
                  {"vocabulary", "Number of tokens it knows.", m.vocab},
                  {"context", "Most tokens of a path.", m.context}};
    ImGui::Spacing();
    ImGui::TextDisabled("Shapes (%s)", m.architecture.c_str());
    const int columns = ImGui::GetContentRegionAvail().x > 24 * ImGui::GetFontSize() ? 4 : 2;
    if (!ImGui::BeginTable("shapes", columns, ImGuiTableFlags_Borders | ImGuiTableFlags_SizingStretchSame)) return;
    for (const auto& shape : shapes) {
        ImGui::TableNextColumn();
        ImGui::TextUnformatted(grouped(shape.value).c_str());
        ImGui::TextDisabled("%s", shape.name);
        tooltip(shape.help);
    }
    ImGui::EndTable();
}

void ModelPanel::draw_sidecar(Frame& frame) {
    const SidecarView& s = *frame.snapshot.sidecar;
    ImGui::Spacing();
    heading("Sidecar");
    if (s.phase == Phase::working) {
        progress_bar(static_cast<float>(s.progress), "fitting: " + s.stage, 0);
        tooltip("The job can be cancelled under Jobs and log.");
    } else if (s.phase == Phase::failed) {
        ImGui::PushStyleColor(ImGuiCol_Text, palette::bad);
        ImGui::TextWrapped("%s", s.error.c_str());
        ImGui::PopStyleColor();
    } else if (s.phase == Phase::absent) {
        ImGui::TextWrapped(
            "None yet. A sidecar codes each token's states as a short latent that can be read, edited and put back. "
            "Fitting one takes a minute.");
    }
    if (s.phase == Phase::ready && begin_properties("sidecar")) {
        property("Kind", s.kind,
                 s.joint ? "joint: one latent for a layer group's hidden states, keys and values, by a Karhunen-Loeve "
                           "transform in the metric of what an error costs, entropy-coded."
                         : "pca: principal components of each layer group's hidden states, and of each block's keys "
                           "and values.");
        property("Groups", std::to_string(s.groups.size()) + " of " + std::to_string(s.group_size) + " blocks",
                 "Blocks whose states are coded together.");
        const size_t hidden = s.groups.empty() ? 0 : s.groups[0].explained.size();
        if (s.joint)
            property("Components", std::to_string(hidden), "Numbers per token and group; most are 0 after rounding.");
        else
            property("Components",
                     std::to_string(hidden) + " hidden, " + std::to_string(s.key_components) + " key, " +
                         std::to_string(s.value_components) + " value",
                     "Numbers per token: hidden ones per group, key and value ones per block.");
        if (!s.joint) property("Quantised", s.bits ? std::to_string(s.bits) + " bits per component" : "no: float32");
        property("z", format_bytes(s.bytes_per_token) + " a token, " + format_number(s.ratio_fp16) + "x smaller",
                 "Mean over texts, without the token's id, beside the hidden states, keys and values in fp16.");
        property("Fitted on", grouped(s.fitted_tokens) + " tokens (" + s.corpus + ")",
                 "Tokens used for the components.");
        property("Size", format_bytes(static_cast<double>(s.bytes)),
                 "Of the sidecar itself: it must be kept beside any latent.");
        hash_row("Hash", s.hash, "sidecar hash", "Sessions name it and refuse latents of another sidecar.");
        ImGui::EndTable();
        draw_held_out(s);
    }
    draw_fit(frame);
}

void ModelPanel::draw_held_out(const SidecarView& s) {
    ImGui::Spacing();
    ImGui::TextDisabled("On %s held-out tokens", grouped(s.calibration_tokens).c_str());
    tooltip("Text that was not used for the fit.");
    if (!begin_properties("held out")) return;
    property("Hidden FVU", format_number(s.hidden_fvu),
             "Fraction of the hidden states' variance that is lost by coding and decoding; 0 is exact, 1 is as bad as "
             "the mean.");
    property("Key FVU", format_number(s.key_fvu), "The same for the attention keys.");
    property("Value FVU", format_number(s.value_fvu), "The same for the attention values.");
    property("KL divergence", format_number(s.kl_nats) + (std::isnan(s.kl_nats) ? "" : " nats"),
             "KL(exact || resumed) of the next-token distribution, mean over tokens: what decoding changes in what the "
             "model says.");
    property("Top-1 agreement", std::isnan(s.top1_agreement) ? "-" : format_number(100 * s.top1_agreement) + " %",
             "How often the most likely next token stays the same after resuming from decoded states.");
    ImGui::EndTable();
}

void ModelPanel::draw_fit(Frame& frame) {
    const SidecarView& s = *frame.snapshot.sidecar;
    ImGui::Spacing();
    ImGui::BeginDisabled(s.phase == Phase::working);
    if (ImGui::Button(s.phase == Phase::ready ? "Refit###fit sidecar" : "Fit a sidecar###fit sidecar"))
        frame.submit(command::FitSidecar{fit_});
    ImGui::EndDisabled();
    tooltip(
        "Runs in the background for about a minute; you can go on working. The old sidecar stays in use until the new "
        "one is there.");
    ImGui::SameLine();
    ImGui::Checkbox("Settings###fit settings", &show_fit_);
    if (show_fit_) draw_fit_settings();
}

void ModelPanel::draw_fit_settings() {
    if (!begin_properties("fit settings")) return;
    ImGui::TableNextRow();
    ImGui::TableNextColumn();
    ImGui::AlignTextToFramePadding();
    ImGui::TextDisabled("Corpus");
    ImGui::TableNextColumn();
    ImGui::SetNextItemWidth(-FLT_MIN);
    ImGui::InputText("##corpus", &fit_.corpus);
    tooltip("\"fortunes\", or the path of a text file or folder to fit on.");
    draw_form();
    if (fit_.form == SidecarForm::joint)
        draw_joint_settings();
    else
        draw_pca_settings();
    count_input("Fit tokens", "Tokens of text that the components are fitted on.", fit_.fit_tokens, 1024, 256,
                100'000'000);
    count_input("Held-out tokens", "Tokens kept apart, which the figures above are measured on.",
                fit_.calibration_tokens, 1024, 256, 100'000'000);
    ImGui::EndTable();
}

void ModelPanel::draw_form() {
    ImGui::TableNextRow();
    ImGui::TableNextColumn();
    ImGui::AlignTextToFramePadding();
    ImGui::TextDisabled("Form");
    ImGui::TableNextColumn();
    static const std::array<std::string, 2> kForms{"One z", "Separate"};
    int form = fit_.form == SidecarForm::joint ? 0 : 1;
    segmented("form", kForms, form, 0, {},
              "One z: a latent for hidden states, keys and values together. Separate: one of hidden states, and one of "
              "each block's keys and values.");
    fit_.form = form == 0 ? SidecarForm::joint : SidecarForm::separate;
}

void ModelPanel::draw_joint_settings() {
    JointSettings& joint = fit_.joint;
    count_input("Group size", "Blocks whose states are coded together.", joint.group_size, 1, 1, 1024);
    auto ratio = static_cast<int64_t>(std::lround(joint.ratio));
    count_input("Times smaller", "Than the state in fp16: 8 is close to exact, 32 is small.", ratio, 1, 2, 256);
    joint.ratio = static_cast<double>(ratio);
    count_input("Gradient sequences",
                "Sequences whose gradients say what an error costs; 0: every direction of the hidden states alike.",
                joint.gradient_sequences, 2, 0, 4096);
}

void ModelPanel::draw_pca_settings() {
    count_input("Group size", "Blocks whose hidden states are coded together.", fit_.pca.group_size, 1, 1, 1024);
    count_input("Hidden components", "Per group and token; 0: as many as it takes to be exact.",
                fit_.pca.hidden_components, 16, 0, 65536);
    count_input("Key components", "Per block and token; 0: exact.", fit_.pca.key_components, 16, 0, 65536);
    count_input("Value components", "Per block and token; 0: exact.", fit_.pca.value_components, 16, 0, 65536);
    int64_t bits = fit_.pca.bits;
    count_input("Bits", "Per component; 0: not quantised.", bits, 1, 0, 16);
    fit_.pca.bits = static_cast<int>(bits);
}

std::vector<std::pair<std::string, std::function<void(Frame&)>>> ModelPanel::actions() {
    return {{"Fit the sidecar with the default settings", [](Frame& frame) { frame.submit(command::FitSidecar{}); }},
            {"Measure a resume from decoded states", [](Frame& frame) {
                 if (frame.snapshot.current) frame.submit(command::MeasureResume{frame.snapshot.current, 0});
             }}};
}

}  // namespace savepoint::views
