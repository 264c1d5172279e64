#include "views/run_pair.h"

#include <imgui.h>

#include <algorithm>
#include <cstdio>

#include "views/palette.h"
#include "views/widgets.h"

namespace savepoint::views {

std::string thought_name(const ThoughtView& thought) {
    std::string text = thought.label.empty() ? thought.text : thought.label;
    if (text.size() > 40) {
        size_t end = 37;
        while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xC0) == 0x80) --end;
        text = text.substr(0, end) + "...";
    }
    return drawable(std::to_string(thought.id) + "  " + text);
}

const ThoughtView* find_thought(const GraphView& graph, ThoughtId id) {
    for (const ThoughtView& thought : graph.thoughts)
        if (thought.id == id) return &thought;
    return nullptr;
}

bool thought_combo(const char* id, const GraphView& graph, ThoughtId& chosen, float width, const char* tip) {
    const ThoughtView* shown = find_thought(graph, chosen);
    bool changed = false;
    ImGui::SetNextItemWidth(width);
    if (ImGui::BeginCombo(id, shown ? thought_name(*shown).c_str() : "choose a thought")) {
        for (const ThoughtView& thought : graph.thoughts) {
            const std::string name = thought_name(thought) + "###" + std::to_string(thought.id);
            if (ImGui::Selectable(name.c_str(), thought.id == chosen)) chosen = thought.id, changed = true;
            if (ImGui::IsItemHovered() && !thought.detail.empty()) tooltip(thought.detail.c_str());
        }
        ImGui::EndCombo();
    }
    tooltip(tip);
    return changed;
}

void RunChoice::follow(const Snapshot& snapshot) {
    const GraphView& graph = *snapshot.graph;
    const bool there = find_thought(graph, a) && find_thought(graph, b);
    if (chosen && there) return;
    chosen = false;
    const ThoughtView* current = find_thought(graph, snapshot.current);
    if (!current) {
        a = b = 0;
        return;
    }
    b = current->id;
    a = current->parent;
    for (auto other = graph.thoughts.rbegin(); a == 0 && other != graph.thoughts.rend(); ++other)
        if (other->id != b) a = other->id;
}

void label_pairs(LayerMap::Contents& contents, const RunPairView& runs) {
    contents.columns = std::max(contents.columns, int64_t{0});
    contents.label = [&runs](int64_t column) {
        const auto i = static_cast<size_t>(column);
        return i < runs.pairs.size() ? drawable(visible(runs.text_b[i])) : std::string();
    };
    contents.number = [&runs](int64_t column) {
        const auto i = static_cast<size_t>(column);
        return i < runs.pairs.size() ? std::to_string(runs.pairs[i].b) : std::string();
    };
}

void select_pair(Frame& frame, const RunPairView& runs, int64_t pair) {
    const auto i = static_cast<size_t>(pair);
    if (frame.snapshot.current == runs.a) return frame.submit(command::Select{{runs.owner_a[i], runs.pairs[i].a}});
    if (frame.snapshot.current != runs.b) frame.submit(command::SetCurrent{runs.b});
    frame.submit(command::Select{{runs.owner_b[i], runs.pairs[i].b}});
}

int64_t selected_pair(const Snapshot& snapshot, const RunPairView& runs) {
    const TokenRef& at = snapshot.selected;
    for (size_t i = 0; i < runs.pairs.size(); ++i)
        if ((runs.owner_b[i] == at.thought && runs.pairs[i].b == at.position) ||
            (runs.owner_a[i] == at.thought && runs.pairs[i].a == at.position))
            return static_cast<int64_t>(i);
    return -1;
}

void mark_selection(const Frame& frame, const RunPairView& runs, int64_t columns, const LayerMap& map) {
    const TokenSelection& picked = frame.ui.selection;
    if (picked.empty()) return;
    for (int64_t pair = 0; pair < columns; ++pair) {
        const auto i = static_cast<size_t>(pair);
        if (picked.contains(runs.owner_a[i], runs.pairs[i].a) || picked.contains(runs.owner_b[i], runs.pairs[i].b))
            map.tick_column(pair, palette::accent);
    }
}

void pair_tooltip(const RunPairView& runs, int64_t pair) {
    const auto i = static_cast<size_t>(pair);
    const AlignedPair& p = runs.pairs[i];
    ImGui::Text("\"%s\" at %d of thought %d", drawable(visible(runs.text_a[i])).c_str(), static_cast<int>(p.a),
                static_cast<int>(runs.a));
    ImGui::Text("\"%s\" at %d of thought %d%s", drawable(visible(runs.text_b[i])).c_str(), static_cast<int>(p.b),
                static_cast<int>(runs.b), p.same ? "" : "  (another token)");
}

void alignment_line(const RunPairView& runs) {
    const auto others =
        std::count_if(runs.pairs.begin(), runs.pairs.end(), [](const AlignedPair& p) { return !p.same; });
    char text[160];
    std::snprintf(text, sizeof text, "%d tokens shared, %d of %d and %d aligned%s", static_cast<int>(runs.shared),
                  static_cast<int>(runs.pairs.size()), static_cast<int>(runs.tokens_a), static_cast<int>(runs.tokens_b),
                  others > 0 ? (", " + std::to_string(others) + " replaced (\xE2\x89\xA0)").c_str() : "");
    small_label(text, palette::text_dim);
    tooltip((std::string("Tokens of the two thoughts are aligned ") + kAlignmentRule + ".").c_str());
}

void causal_progress(Frame& frame, CausalState state, double progress, const std::string& stage,
                     const std::string& error, const char* job) {
    if (state == CausalState::running) {
        char text[200];
        std::snprintf(text, sizeof text, "%.0f %%  %s", 100 * progress, stage.c_str());
        progress_bar(static_cast<float>(progress), text,
                     ImGui::GetContentRegionAvail().x - button_width("Cancel") - ImGui::GetStyle().ItemSpacing.x);
        ImGui::SameLine();
        if (ImGui::Button("Cancel")) cancel_running(frame, job);
        tooltip("Stops it. What is done stays.");
    } else if (state == CausalState::failed) {
        ImGui::PushStyleColor(ImGuiCol_Text, palette::bad);
        ImGui::TextWrapped("%s", error.c_str());
        ImGui::PopStyleColor();
    } else if (state == CausalState::cancelled) {
        small_label("Cancelled: what had been done is shown.", palette::warning);
    }
}

std::string quoted_token(const std::string& text) { return "\"" + drawable(visible(text)) + "\""; }

bool token_combo(const char* id, const char* name, const std::vector<CandidateView>& offered, TokenId& chosen,
                 const char* tip) {
    std::string shown = std::string(name) + ": automatic";
    for (const CandidateView& candidate : offered)
        if (candidate.id == chosen) shown = std::string(name) + ": " + quoted_token(candidate.text);
    bool changed = false;
    ImGui::SetNextItemWidth(9.5f * em());
    if (ImGui::BeginCombo(id, shown.c_str())) {
        if (ImGui::Selectable("automatic", chosen < 0)) chosen = -1, changed = true;
        for (const CandidateView& candidate : offered) {
            char entry[96];
            std::snprintf(entry, sizeof entry, "%s  %.1f %%###%d", quoted_token(candidate.text).c_str(),
                          100 * candidate.probability, static_cast<int>(candidate.id));
            if (ImGui::Selectable(entry, candidate.id == chosen)) chosen = candidate.id, changed = true;
        }
        ImGui::EndCombo();
    }
    tooltip(tip);
    return changed;
}

void legend_in_row(const char* label, const char* low, const char* high, const std::function<ImU32(float)>& colour,
                   const char* tip) {
    ImGui::SetCursorPosY(ImGui::GetCursorPosY() + (ImGui::GetFrameHeight() - small_height()) / 2);
    gradient_legend(label, low, high, colour, tip);
}

}  // namespace savepoint::views
