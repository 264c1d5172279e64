#include "views/projection_form.h"

#include <imgui.h>

#include <algorithm>
#include <filesystem>

#include "views/chart.h"
#include "views/palette.h"
#include "views/widgets.h"

namespace savepoint::views {
namespace {

constexpr const char* kMetrics[] = {"euclidean", "cosine", "correlation"};
constexpr const char* kScalings[] = {"as they are", "each layer to variance 1", "each number to variance 1",
                                     "robust (median, quartiles)"};
constexpr const char* kArrangements[] = {"one map, layers joined", "a map for each layer",
                                         "one map, a point for each layer"};

void label(const char* text, const char* tip) {
    ImGui::TableNextRow();
    ImGui::TableNextColumn();
    ImGui::AlignTextToFramePadding();
    ImGui::TextUnformatted(text);
    tooltip(tip);
    ImGui::TableNextColumn();
    ImGui::SetNextItemWidth(-FLT_MIN);
}

template <typename T>
void choice(const char* id, T& value, std::span<const char* const> names) {
    int chosen = static_cast<int>(value);
    if (ImGui::Combo(id, &chosen, names.data(), static_cast<int>(names.size()))) value = static_cast<T>(chosen);
}

void whole_number(const char* id, int& value, int low, int high) {
    if (ImGui::InputInt(id, &value)) value = std::clamp(value, low, high);
}

void real_number(const char* id, float& value, float step, float low, float high) {
    if (ImGui::InputFloat(id, &value, step, 0, "%.3g")) value = std::clamp(value, low, high);
}

bool begin_fields(const char* id) {
    if (!ImGui::BeginTable(id, 2, ImGuiTableFlags_SizingFixedFit)) return false;
    ImGui::TableSetupColumn("name", ImGuiTableColumnFlags_WidthFixed, 9.5f * em());
    ImGui::TableSetupColumn("value", ImGuiTableColumnFlags_WidthFixed, 13 * em());
    return true;
}

std::string chosen_parts(const ProjectionSettings& settings, const std::vector<std::string>& names) {
    if (settings.parts.empty()) return settings.source == ProjectionSource::latents ? "all groups" : "all layers";
    if (settings.parts.size() == 1) {
        const auto part = static_cast<size_t>(settings.parts[0]);
        return part < names.size() ? names[part] : "layer " + std::to_string(part);
    }
    return std::to_string(settings.parts.size()) +
           (settings.source == ProjectionSource::latents ? " groups" : " layers");
}

const char* arrangement_mark(ProjectionArrangement arrangement) {
    return arrangement == ProjectionArrangement::joined     ? ""
           : arrangement == ProjectionArrangement::separate ? " apart"
                                                            : " stacked";
}

}  // namespace

const char* metric_name(PointMetric metric) { return kMetrics[static_cast<int>(metric)]; }

std::string source_name(const ProjectionSettings& settings) {
    if (settings.source == ProjectionSource::latents) return "latents";
    if (settings.source == ProjectionSource::hidden) return "hidden states";
    return settings.file.empty() ? "a file" : std::filesystem::path(settings.file).filename().string();
}

std::vector<std::string> part_names(const Snapshot& snapshot, ProjectionSource source) {
    std::vector<std::string> names;
    if (source == ProjectionSource::latents)
        for (const LatentGroupView& group : snapshot.sidecar->groups) names.push_back(group.label);
    if (source == ProjectionSource::hidden)
        for (int64_t l = 0; l < snapshot.model->layers; ++l) names.push_back("layer " + std::to_string(l));
    return names;
}

void ProjectionForm::ask_for_file(Frame& frame) {
    frame.ui.file_question =
        FileQuestion{"Open points", {".csv", ".npy"}, [this](const std::string& path) { choose_file(path); }};
}

void ProjectionForm::draw_source(Frame& frame, ProjectionSettings& settings) {
    flow(7.4f * em());
    ImGui::SetNextItemWidth(7.4f * em());
    if (ImGui::BeginCombo("##source", drawable(source_name(settings)).c_str())) {
        const auto entry = [&](const char* name, ProjectionSource source) {
            const bool chosen = settings.source == source;
            if (!ImGui::Selectable(name, chosen) || chosen) return;
            settings.source = source, settings.parts.clear();
            if (source != ProjectionSource::hidden && settings.arrangement == ProjectionArrangement::stacked)
                settings.arrangement = ProjectionArrangement::joined;
        };
        entry("latents", ProjectionSource::latents);
        entry("hidden states", ProjectionSource::hidden);
        if (ImGui::Selectable("a file of points...", settings.source == ProjectionSource::file)) ask_for_file(frame);
        ImGui::EndCombo();
    }
    tooltip(
        "What becomes a point: a token's latent z (of the sidecar), its hidden state after a layer "
        "(blocks.L.hook_resid_post), or a row of a file (.csv, whose columns of text are labels, or .npy).");
}

void ProjectionForm::draw_parts(const Snapshot& snapshot, ProjectionSettings& settings) {
    if (settings.source == ProjectionSource::file) return;
    const std::vector<std::string> names = part_names(snapshot, settings.source);
    flow(8.6f * em());
    ImGui::SetNextItemWidth(8.6f * em());
    const std::string shown = chosen_parts(settings, names) + arrangement_mark(settings.arrangement);
    ImGui::SetNextWindowSizeConstraints({0, 0}, {FLT_MAX, 26 * em()});
    if (ImGui::BeginCombo("##parts", shown.c_str(), ImGuiComboFlags_HeightLargest)) {
        for (int i = 0; i < 3; ++i) {
            const auto arrangement = static_cast<ProjectionArrangement>(i);
            ImGui::BeginDisabled(arrangement == ProjectionArrangement::stacked &&
                                 settings.source != ProjectionSource::hidden);
            if (ImGui::RadioButton(kArrangements[i], settings.arrangement == arrangement))
                settings.arrangement = arrangement;
            ImGui::EndDisabled();
            if (i == 2) tooltip("Hidden states of all layers share one space; latents of different groups do not.");
        }
        ImGui::Separator();
        if (ImGui::SmallButton("All")) settings.parts.clear();
        ImGui::SameLine();
        if (ImGui::SmallButton("Every fourth")) {
            settings.parts.clear();
            for (size_t i = 3; i < names.size(); i += 4) settings.parts.push_back(static_cast<int64_t>(i));
        }
        ImGui::SameLine();
        small_label("none ticked: all", palette::text_dim);
        const int columns = names.size() > 12 ? 3 : 1;
        if (ImGui::BeginTable("parts", columns)) {
            for (size_t i = 0; i < names.size(); ++i) {
                ImGui::TableNextColumn();
                const auto part = static_cast<int64_t>(i);
                const auto found = std::ranges::find(settings.parts, part);
                bool ticked = found != settings.parts.end();
                if (!ImGui::Checkbox(names[i].c_str(), &ticked)) continue;
                if (ticked)
                    settings.parts.insert(std::ranges::upper_bound(settings.parts, part), part);
                else
                    settings.parts.erase(found);
            }
            ImGui::EndTable();
        }
        ImGui::EndCombo();
    }
    tooltip("Which layers (groups of layers, of latents), and whether they share a map.");
}

void ProjectionForm::draw_scope(const Snapshot& snapshot, ProjectionSettings& settings) {
    if (settings.source == ProjectionSource::file) return;
    flow(7.4f * em());
    ImGui::SetNextItemWidth(7.4f * em());
    const bool chosen = settings.scope == ProjectionScope::chosen;
    const std::string shown = settings.scope == ProjectionScope::path ? "current path"
                              : settings.scope == ProjectionScope::all
                                  ? "all thoughts"
                                  : std::to_string(settings.thoughts.size()) + " thoughts";
    ImGui::SetNextWindowSizeConstraints({0, 0}, {FLT_MAX, 26 * em()});
    if (ImGui::BeginCombo("##scope", shown.c_str(), ImGuiComboFlags_HeightLargest)) {
        if (ImGui::Selectable("current path", settings.scope == ProjectionScope::path))
            settings.scope = ProjectionScope::path;
        if (ImGui::Selectable("all thoughts", settings.scope == ProjectionScope::all))
            settings.scope = ProjectionScope::all;
        ImGui::SeparatorText("or the paths of");
        for (const ThoughtView& thought : snapshot.graph->thoughts) {
            const auto found = std::ranges::find(settings.thoughts, thought.id);
            bool ticked = chosen && found != settings.thoughts.end();
            const std::string name = thought.label.empty() ? thought.text : thought.label;
            const std::string line = std::to_string(thought.id) + "  " + drawable(name.substr(0, 40));
            if (!ImGui::Checkbox((line + "###" + std::to_string(thought.id)).c_str(), &ticked)) continue;
            if (!chosen) settings.thoughts.clear();
            if (ticked)
                settings.thoughts.push_back(thought.id);
            else
                std::erase(settings.thoughts, thought.id);
            settings.scope = settings.thoughts.empty() ? ProjectionScope::path : ProjectionScope::chosen;
        }
        ImGui::EndCombo();
    }
    tooltip("Whose tokens: of the path in the transcript, of every thought (each token once), or of those you tick.");
}

void ProjectionForm::draw_umap(ProjectionSettings& settings) {
    UmapSettings& umap = settings.umap;
    ImGui::SeparatorText("UMAP");
    if (!begin_fields("umap")) return;
    label("n_neighbors", "How many neighbours each point is tied to: few show fine detail, many the whole.");
    whole_number("##n_neighbors", umap.neighbors, 2, 500);
    label("min_dist",
          "How closely points may be packed, 0 to the spread of 1: small shows clusters, large spreads them.");
    real_number("##min_dist", umap.min_dist, 0.05f, 0, umap.spread);
    label("metric",
          "How far two points are apart before they are laid out. Cosine ignores their length, correlation "
          "also their mean.");
    choice("##metric", umap.metric, kMetrics);
    label("neighbours",
          "Exact: every pair of points is looked at. HNSW: by a graph that leads to most of them (how many is measured "
          "and shown), for hundreds of thousands of points. Automatic: whichever is the faster.");
    static constexpr const char* kSearches[] = {"automatic", "exact", "HNSW"};
    choice("##search", umap.search, kSearches);
    label("start",
          "Where the layout starts from: the eigenvectors of the neighbourhood graph, or the principal "
          "components, which keep large distances better.");
    static constexpr const char* kStarts[] = {"spectral", "PCA"};
    choice("##start", umap.start, kStarts);
    label("epochs", "Rounds of the layout; 0: 500 up to 10,000 points, 200 above.");
    whole_number("##epochs", umap.epochs, 0, 100000);
    label("seed", "Of every random choice; the same seed and settings give the same map in reproducible mode.");
    int seed = static_cast<int>(umap.seed);
    if (ImGui::InputInt("##seed", &seed)) umap.seed = static_cast<uint64_t>(std::max(0, seed));
    label("mode",
          "Reproducible: the same map bit for bit, whatever the number of threads. Parallel: somewhat faster, "
          "and no two runs alike.");
    static constexpr const char* kModes[] = {"reproducible", "parallel"};
    int mode = umap.reproducible ? 0 : 1;
    if (ImGui::Combo("##mode", &mode, kModes, 2)) umap.reproducible = mode == 0;
    ImGui::EndTable();
}

void ProjectionForm::draw_points(ProjectionSettings& settings) {
    ImGui::SeparatorText("Points");
    if (begin_fields("points")) {
        label("scaling",
              "Before anything else. Each layer to variance 1: no layer outweighs another. Each number: no "
              "direction does. Robust: as each number, but by median and quartiles, so that a few outliers "
              "do not set the scale.");
        choice("##scaling", settings.scaling, kScalings);
        label("trust over k", "Trustworthiness and continuity compare the k nearest neighbours before and after.");
        whole_number("##quality", settings.quality_neighbors, 1, 500);
        ImGui::EndTable();
    }
    if (settings.source == ProjectionSource::file) return;
    ImGui::Checkbox("With the first tokens of each path", &settings.first_tokens);
    tooltip("They are attention sinks, far from all others: with them the rest is squeezed together.");
    ImGui::Checkbox("Place tokens that come later", &settings.follow);
    tooltip("Tokens generated after the map was made are placed in it; those that stand there do not move (UMAP).");
}

void ProjectionForm::draw_clusters(ProjectionSettings& settings) {
    ImGui::SeparatorText("Clusters");
    if (!begin_fields("clusters")) return;
    label("found by",
          "k-means: on the points before projection, as many clusters as you say. HDBSCAN: on the map, as "
          "many as there are dense regions; the rest is in no cluster.");
    static constexpr const char* kMethods[] = {"none", "k-means", "HDBSCAN"};
    choice("##clusters", settings.clusters, kMethods);
    if (settings.clusters == ClusterMethod::kmeans) {
        label("how many", "k");
        whole_number("##k", settings.cluster_count, 1, 1000);
    } else if (settings.clusters == ClusterMethod::hdbscan) {
        label("smallest", "Points that a cluster has at least (min_cluster_size).");
        whole_number("##smallest", settings.cluster_smallest, 2, 100000);
    }
    ImGui::EndTable();
}

void ProjectionForm::draw_more(ProjectionSettings& settings) {
    flow(button_width("Settings"));
    if (ImGui::Button("Settings###more")) ImGui::OpenPopup("projection settings");
    tooltip("n_neighbors, min_dist, metric, seed, scaling, clusters, and what else the map depends on.");
    if (!ImGui::BeginPopup("projection settings")) return;
    if (settings.method == ProjectionMethod::umap) draw_umap(settings);
    draw_points(settings);
    draw_clusters(settings);
    ImGui::Spacing();
    if (ImGui::Button("Defaults")) {
        ProjectionSettings fresh;
        fresh.method = settings.method, fresh.source = settings.source, fresh.scope = settings.scope;
        fresh.thoughts = settings.thoughts, fresh.parts = settings.parts, fresh.arrangement = settings.arrangement;
        fresh.file = settings.file, fresh.umap.components = settings.umap.components;
        settings = fresh;
    }
    ImGui::EndPopup();
}

void ProjectionForm::draw(Frame& frame, ProjectionSettings& settings) {
    if (!chosen_file_.empty()) {
        settings.source = ProjectionSource::file, settings.file = std::exchange(chosen_file_, {});
        settings.parts.clear(), settings.arrangement = ProjectionArrangement::joined;
    }
    static const std::string kMethods[] = {"PCA", "UMAP"}, kDimensions[] = {"2D", "3D"};
    int method = static_cast<int>(settings.method);
    if (segmented(
            "method", kMethods, method, 0, {},
            "PCA: the directions in which the points differ most; distances mean something. UMAP: neighbours stay "
            "neighbours; distances between clusters and their sizes mean little."))
        settings.method = static_cast<ProjectionMethod>(method);
    draw_source(frame, settings);
    draw_parts(frame.snapshot, settings);
    draw_scope(frame.snapshot, settings);
    flow(5 * em());
    int dimensions = settings.umap.components - 2;
    if (segmented("dimensions", kDimensions, dimensions, 0, {},
                  "Dimensions of the map. A UMAP is laid out anew for it; a PCA has both."))
        settings.umap.components = dimensions + 2;
    draw_more(settings);
}

}  // namespace savepoint::views
