#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <map>

#include "app/cli/commands.h"
#include "core/model/error.h"
#include "core/state/safetensors.h"
#include "core/workbench/projection_view.h"

namespace savepoint::cli {

namespace {

// The settings of the Projection panel, for the workbench to do the same with.
struct ProjectArguments {
    ProjectionSettings settings;
    std::string in, out;
    std::vector<int64_t> groups, layers;
    bool every_thought = false, standardise = false, parallel = false;
};

template <typename T>
using Names = std::map<std::string, T>;
const Names<ProjectionMethod> kMethods{{"pca", ProjectionMethod::pca}, {"umap", ProjectionMethod::umap}};
const Names<PointMetric> kMetrics{
    {"euclidean", PointMetric::euclidean}, {"cosine", PointMetric::cosine}, {"correlation", PointMetric::correlation}};
const Names<NeighbourSearch> kSearches{{"automatic", NeighbourSearch::automatic},
                                       {"exact", NeighbourSearch::exact},
                                       {"hnsw", NeighbourSearch::approximate}};
const Names<UmapStart> kStarts{{"spectral", UmapStart::spectral}, {"pca", UmapStart::pca}};
const Names<ProjectionSource> kSources{{"latents", ProjectionSource::latents}, {"hidden", ProjectionSource::hidden}};
const Names<ProjectionArrangement> kArrangements{{"joined", ProjectionArrangement::joined},
                                                 {"separate", ProjectionArrangement::separate},
                                                 {"stacked", ProjectionArrangement::stacked}};
const Names<ProjectionScaling> kScalings{{"none", ProjectionScaling::none},
                                         {"parts", ProjectionScaling::parts},
                                         {"columns", ProjectionScaling::columns},
                                         {"robust", ProjectionScaling::robust}};
const Names<ClusterMethod> kClusters{
    {"none", ClusterMethod::none}, {"kmeans", ClusterMethod::kmeans}, {"hdbscan", ClusterMethod::hdbscan}};

// Deletes the file when it goes.
struct ScratchFile {
    std::string path =
        (std::filesystem::temp_directory_path() / ("savepoint-map-" + std::to_string(getpid()) + ".csv")).string();
    ~ScratchFile() {
        std::error_code ignored;
        std::filesystem::remove(path, ignored);
    }
};

bool is_session(const ProjectArguments& arguments) { return std::filesystem::is_directory(arguments.in); }

ProjectionSettings settings_of(const ProjectArguments& arguments) {
    ProjectionSettings settings = arguments.settings;
    settings.follow = false;
    settings.umap.reproducible = !arguments.parallel;
    if (arguments.standardise) settings.scaling = ProjectionScaling::columns;
    if (!is_session(arguments)) {
        settings.source = ProjectionSource::file;
        settings.file = arguments.in;
        return settings;
    }
    if (!arguments.layers.empty()) settings.source = ProjectionSource::hidden;
    settings.parts = arguments.layers.empty() ? arguments.groups : arguments.layers;
    if (!settings.thoughts.empty()) settings.scope = ProjectionScope::chosen;
    if (arguments.every_thought) settings.scope = ProjectionScope::all;
    return settings;
}

// With the session open where one is given; a file of points needs no model.
std::unique_ptr<Workbench> workbench_for(const Common& common, const ProjectArguments& arguments,
                                         const ProjectionSettings& settings) {
    if (!is_session(arguments)) {
        WorkbenchOptions options;
        options.data_folder = common.data_folder;
        options.threads = common.threads;
        options.fit_when_missing = false;
        return std::make_unique<Workbench>(options);
    }
    auto workbench = open_workbench(common, false);
    workbench->submit(command::OpenSession{arguments.in});
    const auto snapshot = finish(*workbench, true);
    if (settings.source == ProjectionSource::latents && snapshot->sidecar->phase != Phase::ready)
        throw Error("project: no fitted sidecar for this model; make one with `savepoint fit --default`");
    return workbench;
}

nlohmann::json figures_of(const ProjectionMap& map) {
    std::vector<float> explained;
    for (const ProjectionComponent& component : map.components) explained.push_back(component.explained);
    nlohmann::json figures{{"map", map.label},
                           {"rows", map.places ? map.places->size() : 0},
                           {"columns", map.columns},
                           {"explained_variance", explained},
                           {"randomized", map.randomized},
                           {"neighbour_recall", map.neighbour_recall},
                           {"trustworthiness", map.trustworthiness},
                           {"continuity", map.continuity},
                           {"quality_neighbors", map.quality_neighbors},
                           {"quality_rows", map.quality_rows}};
    if (map.clusters) figures["clusters"] = map.cluster_count;
    return figures;
}

// Of the first map at the top, and of each where there are several.
nlohmann::json figures_of(const ProjectionView& view) {
    nlohmann::json figures = figures_of(view.maps.front());
    for (size_t m = 0; view.maps.size() > 1 && m < view.maps.size(); ++m)
        figures["maps"].push_back(figures_of(view.maps[m]));
    figures["method"] = view.settings.method == ProjectionMethod::pca ? "pca" : "umap";
    figures["seconds"] = view.seconds;
    figures["points_asked"] = view.points->asked;
    figures["points_left_out"] = view.points->left_out;
    if (view.settings.method == ProjectionMethod::pca) return figures;
    const UmapSettings& umap = view.settings.umap;
    figures["n_neighbors"] = umap.neighbors;
    figures["min_dist"] = umap.min_dist;
    figures["seed"] = umap.seed;
    figures["reproducible"] = umap.reproducible;
    return figures;
}

int project(const Common& common, const ProjectArguments& arguments) {
    const ProjectionSettings settings = settings_of(arguments);
    const auto workbench = workbench_for(common, arguments, settings);
    workbench->submit(command::Project{settings});
    const auto view = finish(*workbench, true)->projection;
    if (!view || view->maps.empty()) throw Error(view ? view->error : "project: nothing was projected");
    // The panel makes do with fewer neighbours; who gave a number is told.
    for (const ProjectionMap& map : view->maps)
        if (settings.method == ProjectionMethod::umap && map.places &&
            settings.umap.neighbors > static_cast<int64_t>(map.places->size()))
            throw InputError("--neighbors: n_neighbors is " + std::to_string(settings.umap.neighbors) + "; there are " +
                             std::to_string(map.places->size()) + " points");
    const ScratchFile scratch;
    workbench->submit(command::Export{"projection.csv", arguments.out.empty() ? scratch.path : arguments.out});
    finish(*workbench, true);
    nlohmann::json figures = figures_of(*view);
    if (!arguments.out.empty()) figures["out"] = arguments.out;
    if (common.json)
        print_json(figures);
    else if (arguments.out.empty())
        std::cout << read_file(scratch.path);
    else
        std::cout << arguments.out << ": " << figures.dump() << "\n";
    return 0;
}

template <typename T>
CLI::Option* add_choice(CLI::App* command, const std::string& name, T& value, const Names<T>& names,
                        const std::string& about) {
    std::string listed, standard;
    for (const auto& [text, one] : names) {
        listed += (listed.empty() ? " (" : ", ") + text;
        if (one == value) standard = text;
    }
    return command->add_option(name, value, about + listed + ")")
        ->transform(CLI::CheckedTransformer(names))
        ->default_str(standard);
}

void add_umap_options(CLI::App* command, ProjectArguments& arguments) {
    UmapSettings& umap = arguments.settings.umap;
    command->add_option("--neighbors", umap.neighbors, "UMAP: n_neighbors")->capture_default_str();
    command->add_option("--min-dist", umap.min_dist, "UMAP: how closely points may lie")->capture_default_str();
    command->add_option("--spread", umap.spread, "UMAP: scale of the map")->capture_default_str();
    command->add_option("--epochs", umap.epochs, "UMAP: 0: 500 up to 10,000 points, 200 above")->capture_default_str();
    command->add_option("--seed", umap.seed, "Of UMAP and clusters")->capture_default_str();
    add_choice(command, "--metric", umap.metric, kMetrics, "UMAP: distances between points");
    add_choice(command, "--search", umap.search, kSearches, "UMAP: how neighbours are found");
    add_choice(command, "--start", umap.start, kStarts, "UMAP: where the layout starts from");
    command->add_flag("--parallel", arguments.parallel, "UMAP: somewhat faster, not reproducible");
}

void add_session_options(CLI::App* command, ProjectArguments& arguments) {
    ProjectionSettings& settings = arguments.settings;
    add_choice(command, "--source", settings.source, kSources, "Session: what becomes a point");
    auto* groups = command->add_option("--group", arguments.groups, "Session: layer groups of latents; default: all");
    groups->delimiter(',')->check(CLI::NonNegativeNumber);
    command->add_option("--layers", arguments.layers, "Session: hidden states after these layers; default: all")
        ->delimiter(',')
        ->check(CLI::NonNegativeNumber)
        ->excludes(groups);
    add_choice(command, "--arrangement", settings.arrangement, kArrangements,
               "Session: layers side by side in one row, a map for each, or a point for each in one map");
    command
        ->add_option("--thought", settings.thoughts, "Session: tokens of these thoughts' paths; default: the current")
        ->delimiter(',')
        ->check(CLI::NonNegativeNumber);
    command->add_flag("--all-thoughts", arguments.every_thought, "Session: tokens of every thought");
    command->add_flag("--first-tokens", settings.first_tokens,
                      "Session: with the first tokens of each path, which are far from all others");
}

}  // namespace

void add_project(Registry registry) {
    auto arguments = std::make_shared<ProjectArguments>();
    ProjectionSettings& settings = arguments->settings;
    CLI::App* command =
        add_command(registry, "project", "Project points into 2 or 3 dimensions, as the Projection panel: CSV out");
    command->add_option("--in", arguments->in, "Session folder (latents or hidden states), or .csv or .npy")
        ->required()
        ->check(CLI::ExistingPath);
    add_choice(command, "--method", settings.method, kMethods, "How");
    command->add_option("--components", settings.umap.components, "2 or 3")
        ->check(CLI::Range(2, 3))
        ->capture_default_str();
    CLI::Option* scaling = add_choice(command, "--scaling", settings.scaling, kScalings, "Before anything else");
    command->add_flag("--standardise", arguments->standardise, "The same as --scaling columns")->excludes(scaling);
    add_session_options(command, *arguments);
    add_umap_options(command, *arguments);
    add_choice(command, "--clusters", settings.clusters, kClusters, "A column that says which cluster");
    command->add_option("--cluster-count", settings.cluster_count, "kmeans: how many")
        ->check(CLI::PositiveNumber)
        ->capture_default_str();
    command->add_option("--cluster-smallest", settings.cluster_smallest, "hdbscan: points of a cluster at least")
        ->check(CLI::Range(2, 100000))
        ->capture_default_str();
    command->add_option("--quality-neighbors", settings.quality_neighbors, "k of trustworthiness and continuity")
        ->check(CLI::PositiveNumber)
        ->capture_default_str();
    command->add_option("--out", arguments->out, "CSV file; default: standard output");
    command->callback([registry, arguments] {
        registry.chosen = [&common = registry.common, arguments] { return project(common, *arguments); };
    });
}

}  // namespace savepoint::cli
