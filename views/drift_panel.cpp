#include "views/drift_panel.h"

#include <imgui.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>

#include "views/choice_names.h"
#include "views/palette.h"
#include "views/widgets.h"

namespace savepoint::views {
namespace {

const std::array<std::string, 5> kParts{"Hidden", "Keys", "Values", "Linear state", "z"};
constexpr std::array<const char*, 5> kPartTips{
    "Hidden states: the residual stream after each block.", "Keys of each KV head, before rotary embedding.",
    "Values of each KV head.",
    "Linear-attention state S_t / n_t of each KV head, row by row: what its keys and values add up to so far.",
    "Latents z_t of each layer group; a sidecar has to be fitted for them."};
constexpr const char* kDistanceTip =
    "Euclidean distance of the two states over the median distance of texts that have nothing to do with each other, "
    "at "
    "the same place of the text. 0: the same. 1: as far apart as unrelated texts.";

// Within the band nearly black; from there to 1 along the map, so that small drifts show.
ImU32 distance_colour(float distance, float band) {
    if (std::isnan(distance)) return sequential(NAN);
    if (distance <= band) return sequential(0.02f);
    return sequential(0.15f + 0.85f * std::sqrt(std::min(1.0f, distance)));
}

float band_of(const DriftMap& map, float percent) { return std::max(map.noise, percent / 100); }

}  // namespace

const DriftMap* DriftPanel::shown_map(const DriftView& view) const {
    for (const auto& map : view.maps)
        if (static_cast<int>(map->part) == part_) return map.get();
    return nullptr;
}

float DriftPanel::cell(const DriftMap& map, int64_t pair, int64_t row) const {
    const float* heads = map.distance.data() + (pair * map.rows + row) * map.heads;
    if (head_ > 0 && head_ <= map.heads) return heads[head_ - 1];
    return *std::max_element(heads, heads + map.heads);
}

std::string DriftPanel::row_name(const DriftView& view, const DriftMap& map, int64_t row) const {
    if (map.part == DriftPart::latent && row < static_cast<int64_t>(view.groups.size()))
        return view.groups[static_cast<size_t>(row)];
    return "layer " + std::to_string(row);
}

void DriftPanel::compare(Frame& frame) const {
    DriftSettings settings;
    settings.band = band_ / 100;
    settings.phi.kind = phi_;
    settings.phi.rotary = rotary_;
    frame.submit(command::CompareRuns{runs_.a, runs_.b, settings});
}

void DriftPanel::patch(Frame& frame, const DriftView& view) const {
    PatchRequest request;
    request.source = view.runs->a, request.destination = view.runs->b;
    frame.submit(command::PatchRuns{request});
    frame.ui.show_panel = "Patching";
}

void DriftPanel::draw_runs(Frame& frame) {
    runs_.follow(frame.snapshot);
    const GraphView& graph = *frame.snapshot.graph;
    const float width = std::clamp((ImGui::GetContentRegionAvail().x - 13 * em()) / 2, 7 * em(), 16 * em());
    ImGui::AlignTextToFramePadding();
    ImGui::TextUnformatted("a");
    ImGui::SameLine();
    if (thought_combo("##a", graph, runs_.a, width, "The thought to compare with: the one that went right, say."))
        runs_.chosen = true;
    ImGui::SameLine();
    ImGui::TextUnformatted("b");
    ImGui::SameLine();
    if (thought_combo("##b", graph, runs_.b, width, "The thought that parted from it.")) runs_.chosen = true;
    ImGui::SameLine();
    if (ImGui::Button("Swap")) std::swap(runs_.a, runs_.b), runs_.chosen = true;
    tooltip("Exchange a and b. Patching goes from a into b.");
    flow(8 * em());
    ImGui::SetNextItemWidth(8 * em());
    if (ImGui::BeginCombo("##phi", ("phi: " + display_name(phi_)).c_str(), ImGuiComboFlags_HeightLarge)) {
        for (const PhiKind kind : all_phi()) {
            if (ImGui::Selectable(display_name(kind).c_str(), kind == phi_)) phi_ = kind;
            tooltip(formula(kind));
        }
        ImGui::EndCombo();
    }
    tooltip(
        "Feature map of the linear-attention states that the next comparison is to make. The learned one is fitted "
        "and kept by the Phi panel.");
    flow(7.5f * em());
    ImGui::Checkbox("after rotary", &rotary_);
    tooltip("On: phi of those states sees keys after rotary embedding, with their positions. Off: before it.");
    flow(button_width("Compare"));
    const bool can = runs_.a != 0 && runs_.b != 0 && runs_.a != runs_.b;
    ImGui::BeginDisabled(!can || frame.snapshot.status.generating);
    if (ImGui::Button("Compare")) compare(frame);
    ImGui::EndDisabled();
    tooltip(
        can ? "Aligns the two thoughts and measures every part of their states. The first time, some seconds go into "
              "texts that have nothing to do with each other, which distances are measured against."
            : "Choose two different thoughts.");
}

void DriftPanel::draw_choices(const DriftView& view) {
    segmented(
        "part", kParts, part_, 0,
        [&](int part) {
            return std::any_of(view.maps.begin(), view.maps.end(),
                               [&](const auto& map) { return static_cast<int>(map->part) == part && map->first; });
        },
        kPartTips[static_cast<size_t>(part_)]);
    const DriftMap* map = shown_map(view);
    if (map && map->part == DriftPart::attention_state) {
        const std::string phi =
            "phi: " + display_name(view.settings.phi.kind) + (view.settings.phi.rotary ? ", after rotary" : "");
        flow(ImGui::CalcTextSize(phi.c_str()).x);
        ImGui::AlignTextToFramePadding();
        ImGui::TextDisabled("%s", phi.c_str());
        tooltip("Feature map of the states that are compared here.");
    }
    if (map && map->heads > 1) {
        flow(8 * em());
        head_ = std::min<int>(head_, static_cast<int>(map->heads));
        const std::string shown = head_ == 0 ? "farthest head" : "KV head " + std::to_string(head_ - 1);
        ImGui::SetNextItemWidth(8 * em());
        if (ImGui::BeginCombo("##head", shown.c_str())) {
            for (int head = 0; head <= map->heads; ++head) {
                const std::string name = head == 0 ? "farthest head" : "KV head " + std::to_string(head - 1);
                if (ImGui::Selectable(name.c_str(), head == head_)) head_ = head;
            }
            ImGui::EndCombo();
        }
        tooltip("The KV head whose distances are drawn, or the largest of all heads in every cell.");
    }
    flow(12 * em());
    ImGui::SetNextItemWidth(7 * em());
    ImGui::SliderFloat("band", &band_, 0, 100, "%.1f %%", ImGuiSliderFlags_Logarithmic);
    tooltip(
        "Noise band: distances up to this share of an unrelated text's do not count as drift. Never narrower than "
        "four times the difference between one text computed at once and token by token.");
}

void DriftPanel::draw_first(Frame& frame, const DriftView& view, const DriftMap& map) {
    const auto first = first_drift(map, view.runs->pairs, band_ / 100, view.settings.first_token);
    char text[240];
    if (!first) {
        std::snprintf(text, sizeof text,
                      "%s stay within the band (%.2g of an unrelated text's distance) at every token.",
                      part_ == 0 ? "The hidden states" : "They", band_of(map, band_));
        small_label(text, palette::good);
        return;
    }
    const auto pair = static_cast<size_t>(first->pair);
    std::snprintf(text, sizeof text, "First drift: \"%s\" at %d, %s%s: %.0f %% of unrelated###first",
                  drawable(visible(view.runs->text_b[pair])).c_str(), static_cast<int>(view.runs->pairs[pair].b),
                  row_name(view, map, first->row).c_str(),
                  map.heads > 1 ? (", KV head " + std::to_string(first->head)).c_str() : "", 100 * first->distance);
    if (ImGui::Button(text)) select_pair(frame, *view.runs, first->pair);
    tooltip(
        "The earliest token, read by both, whose states lie outside the noise band, and its lowest layer. Click: "
        "select that token in every panel.");
    flow(button_width("Find the cause"));
    if (ImGui::Button("Find the cause")) patch(frame, view);
    tooltip("Patches a's activations into b, place by place, to see which of them turns b's outcome into a's.");
}

void DriftPanel::draw_tooltip(const DriftView& view, const DriftMap& map, int64_t pair, int64_t row) const {
    if (!ImGui::BeginTooltip()) return;
    pair_tooltip(*view.runs, pair);
    ImGui::Separator();
    ImGui::TextUnformatted(row_name(view, map, row).c_str());
    for (int64_t head = 0; head < map.heads; ++head) {
        const float distance = map.distance[static_cast<size_t>((pair * map.rows + row) * map.heads + head)];
        if (map.heads > 1)
            ImGui::Text("KV head %d  %s", static_cast<int>(head), format_number(distance).c_str());
        else
            ImGui::Text("distance %s of an unrelated text's", format_number(distance).c_str());
    }
    ImGui::TextDisabled("click: select this token");
    ImGui::EndTooltip();
}

void DriftPanel::draw_map(Frame& frame, const DriftView& view, const DriftMap& map) {
    const float band = band_of(map, band_);
    LayerMap::Contents contents;
    contents.columns = static_cast<int64_t>(view.runs->pairs.size());
    contents.rows = map.rows;
    contents.colour = [&](int64_t pair, int64_t row) { return distance_colour(cell(map, pair, row), band); };
    label_pairs(contents, *view.runs);
    if (map.part == DriftPart::latent) {
        contents.row_title = "group";
        contents.row_label = [&](int64_t row) {
            return row < static_cast<int64_t>(view.groups.size())
                       ? view.groups[static_cast<size_t>(row)].substr(view.groups[static_cast<size_t>(row)].find(' ') +
                                                                      1)
                       : std::to_string(row);
        };
    }
    const ImVec2 room = ImGui::GetContentRegionAvail();
    const float height = std::max(7 * em(), std::min(room.y - 1.6f * em(), 34 * em()));
    const LayerMap::Hit hit = map_.draw("map", {room.x, height}, contents);
    auto* draw = ImGui::GetWindowDrawList();
    for (size_t i = 0; i < view.runs->pairs.size(); ++i)
        if (!view.runs->pairs[i].same) {
            const ImVec2 top = map_.cell_centre(static_cast<int64_t>(i), map.rows - 1);
            small_text(draw, {top.x, ImGui::GetItemRectMin().y}, palette::warning, "\xE2\x89\xA0", 0.5f);
        }
    mark_selection(frame, *view.runs, static_cast<int64_t>(view.runs->pairs.size()), map_);
    map_.mark_column(selected_pair(frame.snapshot, *view.runs), palette::accent, 1.5f);
    if (const auto first = first_drift(map, view.runs->pairs, band_ / 100, view.settings.first_token))
        map_.outline(first->pair, first->row, palette::good, 2.5f);
    if (hit.hovered) {
        map_.outline(hit.column, hit.row, palette::text, 1);
        draw_tooltip(view, map, hit.column, hit.row);
        if (hit.clicked) select_pair(frame, *view.runs, hit.column);
    }
    gradient_legend(
        "distance", "band", "1", [&](float t) { return distance_colour(band + t * (1 - band) + 1e-6f, band); },
        kDistanceTip);
    flow(swatch_width("first drift"));
    swatch(palette::good, "first drift", "The earliest cell out of the noise band.");
    if (view.unrelated_runs > 0) {
        const std::string note = "1: as far as " + std::to_string(view.unrelated_runs) + " unrelated texts";
        flow(small_width(note));
        small_label(note, palette::text_dim);
        tooltip(kDistanceTip);
    }
}

void DriftPanel::draw(Frame& frame) {
    if (frame.snapshot.graph->thoughts.size() < 2) {
        empty_state(
            "Two thoughts are needed",
            "Generate, then branch: drag a latent and resume, replace a token, or send the prompt again with one "
            "word changed. Then compare the two here.");
        return;
    }
    draw_runs(frame);
    const auto& view = frame.snapshot.drift;
    if (!view) {
        empty_state("Nothing compared yet",
                    "Compare measures, token by token and layer by layer, how far b's states are from a's, and marks "
                    "where they first part.");
        return;
    }
    causal_progress(frame, view->state, view->progress, view->stage, view->error, "Comparing two thoughts");
    alignment_line(*view->runs);
    draw_choices(*view);
    const DriftMap* map = shown_map(*view);
    if (!map) {
        const bool latents = static_cast<DriftPart>(part_) == DriftPart::latent && view->groups.empty();
        ImGui::TextDisabled("%s", latents ? "No sidecar is fitted: fit one under Model and sidecar to compare latents."
                                          : "Not measured yet.");
        return;
    }
    draw_first(frame, *view, *map);
    draw_map(frame, *view, *map);
}

std::vector<std::pair<std::string, std::function<void(Frame&)>>> DriftPanel::actions() {
    return {{"Compare the current thought with its parent", [this](Frame& frame) {
                 runs_.chosen = false;
                 runs_.follow(frame.snapshot);
                 if (runs_.a != 0) compare(frame);
                 frame.ui.show_panel = title();
             }}};
}

}  // namespace savepoint::views
