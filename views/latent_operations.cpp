#include "views/latent_operations.h"

#include <imgui.h>

#include <algorithm>

#include "views/chart.h"
#include "views/palette.h"
#include "views/widgets.h"

namespace savepoint::views {
namespace {

const ThoughtView* find_thought(const Snapshot& snapshot, ThoughtId id) {
    for (const auto& thought : snapshot.graph->thoughts)
        if (thought.id == id) return &thought;
    return nullptr;
}

std::string thought_name(const ThoughtView& thought) {
    const std::string& name = thought.label.empty() ? thought.text : thought.label;
    return std::to_string(thought.id) + "  " + (name.size() > 40 ? name.substr(0, 40) + "..." : name);
}

int64_t path_length(const Snapshot& snapshot) {
    return snapshot.path == nullptr ? 0 : static_cast<int64_t>(snapshot.path->tokens.size());
}

bool input_position(const char* id, int64_t& value, int64_t low, int64_t high) {
    int number = static_cast<int>(value);
    ImGui::SetNextItemWidth(6.5f * em());
    if (!ImGui::InputInt(id, &number, 1, 10)) return false;
    value = std::clamp<int64_t>(number, low, std::max(low, high));
    return true;
}

}  // namespace

void LatentOperations::follow(TokenRef selected) {
    if (selected == followed_) return;
    followed_ = selected;
    first_ = last_ = selected.position;
}

void LatentOperations::mark_as_b(TokenRef token) { b_ = token; }

bool LatentOperations::draw(Frame& frame, const EditScope& scope) {
    if (ImGui::Button("Operations...")) ImGui::OpenPopup("operations");
    tooltip("Zero, noise, copy or mix all components at once; choose the range of tokens that edits apply to.");
    if (!ImGui::BeginPopup("operations")) return false;
    ImGui::PushStyleVar(ImGuiStyleVar_FrameBorderSize, 1);  // fields stand out from the popover's lighter ground
    const bool changed = draw_popover(frame, scope);
    ImGui::PopStyleVar();
    ImGui::EndPopup();
    return changed;
}

bool LatentOperations::draw_popover(Frame& frame, const EditScope& scope) {
    bool changed = draw_range(frame);
    draw_scope(frame, scope);
    changed |= draw_zero_and_noise(frame, scope);
    draw_b_picker(frame);
    changed |= draw_copy_and_mix(frame, scope);
    return changed;
}

bool LatentOperations::draw_range(Frame& frame) {
    section("Tokens",
            "Edits apply to every token from the first to the last position, both included. Tokens after "
            "the last edited one are generated anew when you resume.");
    const int64_t end = path_length(frame.snapshot) - 1;
    bool changed = input_position("##first", first_, 0, end);
    tooltip("First token that edits apply to (position in the path, counted from 0).");
    ImGui::SameLine();
    ImGui::TextUnformatted("to");
    ImGui::SameLine();
    changed |= input_position("##last", last_, first_, end);
    tooltip("Last token that edits apply to.");
    ImGui::SameLine();
    if (ImGui::Button("Selected only")) first_ = last_ = followed_.position, changed = true;
    if (!changed) return false;
    last_ = std::max(first_, last_);
    for (auto& edit : frame.ui.edits) edit.first_token = first_, edit.last_token = last_;
    return !frame.ui.edits.empty();
}

void LatentOperations::draw_scope(const Frame& frame, const EditScope& scope) {
    section("Apply to", "Which latents the operations below change.");
    const char* part = scope.part == LatentPart::hidden ? "Hidden" : scope.part == LatentPart::key ? "Keys" : "Values";
    ImGui::RadioButton("What is shown", &reach_, 0);
    tooltip("The latent whose sliders are shown.");
    ImGui::SameLine();
    if (frame.snapshot.sidecar->joint) {
        if (reach_ == 1) reach_ = 0;
        ImGui::RadioButton("Every group", &reach_, 2);
        tooltip("The same in all layer groups.");
        return;
    }
    ImGui::RadioButton("Whole group", &reach_, 1);
    tooltip("Hidden, keys and values of every block of this layer group.");
    ImGui::SameLine();
    ImGui::RadioButton((std::string(part) + ", every group").c_str(), &reach_, 2);
    tooltip("The same part in all layer groups.");
}

bool LatentOperations::add(Frame& frame, const EditScope& scope, LatentEdit edit) const {
    edit.component = -1;
    if (reach_ == 1) edit.part = LatentPart::all, edit.block = -1;
    if (reach_ != 2) {
        put(frame.ui.edits, edit);
        return true;
    }
    edit.block = -1;
    edit.part = scope.part;
    for (size_t g = 0; g < frame.snapshot.sidecar->groups.size(); ++g) {
        edit.group = static_cast<int64_t>(g);
        put(frame.ui.edits, edit);
    }
    return true;
}

bool LatentOperations::draw_zero_and_noise(Frame& frame, const EditScope& scope) {
    section("Alone", "Operations that need no other token.");
    bool changed = false;
    if (ImGui::Button("Zero all", {7 * em(), 0})) changed |= add(frame, scope, make_edit(EditKind::zero, scope));
    tooltip("Every component becomes 0 sd, the mean of the reference text.");
    if (ImGui::Button("Add noise", {7 * em(), 0})) {
        LatentEdit edit = make_edit(EditKind::noise, scope);
        edit.amount = noise_, edit.seed = static_cast<uint64_t>(std::max(0, seed_));
        changed |= add(frame, scope, edit);
    }
    tooltip("Adds Gaussian noise to every component; the same seed gives the same noise.");
    ImGui::SameLine();
    ImGui::SetNextItemWidth(8 * em());
    ImGui::SliderFloat("##sd", &noise_, 0.01f, 3.0f, "%.2f sd", ImGuiSliderFlags_AlwaysClamp);
    tooltip("Standard deviation of the noise, in standard deviations of the reference text.");
    ImGui::SameLine();
    ImGui::SetNextItemWidth(6 * em());
    ImGui::InputInt("seed", &seed_, 1, 100);
    tooltip("Seed of the noise; stored with the edit.");
    return changed;
}

void LatentOperations::draw_b_picker(Frame& frame) {
    const Snapshot& snapshot = frame.snapshot;
    section("Another token, B",
            "The token to copy from or mix with. It stays chosen while you select other tokens. Quickest: "
            "point at a token in any panel and press B.");
    const ThoughtView* chosen = find_thought(snapshot, b_.thought);
    ImGui::SetNextItemWidth(13 * em());
    if (ImGui::BeginCombo("##b_thought", chosen != nullptr ? thought_name(*chosen).c_str() : "choose a thought")) {
        for (const auto& thought : snapshot.graph->thoughts)
            if (ImGui::Selectable(thought_name(thought).c_str(), thought.id == b_.thought))
                b_ = {thought.id, std::min(std::max<int64_t>(b_.position, thought.prefix), thought.path_tokens - 1)};
        ImGui::EndCombo();
    }
    tooltip("The thought on whose path B lies.");
    ImGui::SameLine();
    ImGui::BeginDisabled(chosen == nullptr);
    int64_t position = std::max<int64_t>(0, b_.position);
    if (input_position("##b_position", position, 0, chosen != nullptr ? chosen->path_tokens - 1 : 0))
        b_.position = position;
    tooltip("Position of B in that path, counted from 0.");
    ImGui::EndDisabled();
    ImGui::SameLine();
    if (ImGui::Button("Use selected")) b_ = snapshot.selected;
    tooltip("Makes the selected token B; select another token after that and mix B into it.");
    if (const TokenView* token = find_token(snapshot, b_))
        small_label("B is \"" + visible(token->text) + "\"", palette::text_dim);
}

bool LatentOperations::draw_copy_and_mix(Frame& frame, const EditScope& scope) {
    const bool has_b = b_.thought > 0 && b_.position >= 0;
    bool changed = false;
    ImGui::BeginDisabled(!has_b);
    const auto with_b = [&](EditKind kind, double amount) {
        LatentEdit edit = make_edit(kind, scope);
        edit.source_thought = b_.thought, edit.source_token = b_.position, edit.amount = amount;
        return edit;
    };
    if (ImGui::Button("Copy from B", {7 * em(), 0})) changed |= add(frame, scope, with_b(EditKind::copy, 0));
    tooltip("Every component takes B's value.");
    ImGui::SetNextItemWidth(13 * em());
    bool mix = ImGui::SliderFloat("##mix", &weight_, 0, 1, "A  %.2f  B", ImGuiSliderFlags_AlwaysClamp);
    tooltip("Mixes this token (A, 0) with B (1): drag to walk from one to the other.");
    ImGui::SameLine();
    ImGui::SetNextItemWidth(7 * em());
    mix |= ImGui::Combo("##formula", &mix_, "linear\0spherical\0") && weight_ > 0;
    tooltip("linear: (1 - w) A + w B. spherical: along the arc between A and B, which keeps the length of z.");
    if (mix) changed |= add(frame, scope, with_b(mix_ == 0 ? EditKind::lerp : EditKind::slerp, weight_));
    ImGui::EndDisabled();
    if (!has_b) small_label("Choose B first.", palette::text_dim);
    return changed;
}

}  // namespace savepoint::views
