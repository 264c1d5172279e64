#include <unistd.h>

#include <chrono>
#include <cmath>
#include <filesystem>
#include <sstream>

#include "app/cli/commands.h"
#include "app/cli/progress_line.h"
#include "core/analysis/points_file.h"
#include "core/analysis/projection.h"
#include "core/analysis/trustworthiness.h"
#include "core/analysis/umap.h"
#include "core/model/device.h"
#include "core/model/error.h"
#include "core/state/safetensors.h"

#include <ATen/ATen.h>

namespace savepoint::cli {

namespace {

struct ProjectArguments {
    std::string method = "umap", in, out, layout, metric = "euclidean", start = "spectral";
    int64_t thought = -1, group = -1;
    int components = 2, quality_neighbors = 15;
    int64_t quality_rows = 0;
    bool standardise = false, parallel = false;
    UmapSettings umap;
};

// -- points in ------------------------------------------------------------------------------------------------------

// Deletes the file when it goes.
struct ScratchFile {
    std::string path =
        (std::filesystem::temp_directory_path() / ("savepoint-latents-" + std::to_string(getpid()) + ".safetensors"))
            .string();
    ~ScratchFile() {
        std::error_code ignored;
        std::filesystem::remove(path, ignored);
    }
};

// [tokens, components] of one layer group, or of all side by side.
PointTable latents_of(Workbench& workbench, int64_t group) {
    const ScratchFile scratch;
    workbench.submit(command::Export{"latents.safetensors", scratch.path});
    finish(workbench, true);
    const at::Tensor hidden = read_safetensors(scratch.path).tensors.at("hidden").to(at::kFloat);
    if (group >= hidden.size(1))
        throw InputError("--group: is " + std::to_string(group) + "; the sidecar has groups 0 to " +
                         std::to_string(hidden.size(1) - 1));
    const at::Tensor table = (group < 0 ? hidden.flatten(1) : hidden.select(1, group)).contiguous();
    const auto* values = table.data_ptr<float>();
    return {table.size(0), table.size(1), {values, values + table.numel()}};
}

std::string text_of(float number) {
    if (!std::isfinite(number)) return "";
    std::ostringstream text;
    text << number;
    return text.str();
}

void add_labels(const PathView& path, PointsFile& points) {
    points.label_names = {"thought", "position", "id", "text", "log_probability", "anomaly"};
    for (const auto& token : path.tokens)
        points.labels.push_back({std::to_string(token->thought), std::to_string(token->position),
                                 std::to_string(token->id), token->text, text_of(token->log_probability),
                                 text_of(token->anomaly)});
}

PointsFile read_session(const Common& common, const ProjectArguments& arguments) {
    auto workbench = open_workbench(common, false);
    workbench->submit(command::OpenSession{arguments.in});
    if (finish(*workbench, true)->sidecar->phase != Phase::ready)
        throw Error("project: no fitted sidecar for this model; make one with `savepoint fit --default`");
    if (arguments.thought >= 0) workbench->submit(command::SetCurrent{arguments.thought});
    const auto snapshot = finish(*workbench, true);
    PointsFile points;
    points.points = latents_of(*workbench, arguments.group);
    add_labels(*snapshot->path, points);
    return points;
}

// Each column less its mean, over its standard deviation; columns that do not vary become 0.
void standardise(PointTable& points) {
    for (int64_t c = 0; c < points.columns; ++c) {
        double sum = 0, squares = 0;
        for (int64_t i = 0; i < points.rows; ++i) sum += points.row(i)[c];
        const double mean = sum / static_cast<double>(points.rows);
        for (int64_t i = 0; i < points.rows; ++i) squares += (points.row(i)[c] - mean) * (points.row(i)[c] - mean);
        const double deviation = std::sqrt(squares / static_cast<double>(points.rows));
        for (int64_t i = 0; i < points.rows; ++i)
            points.row(i)[c] = deviation > 0 ? static_cast<float>((points.row(i)[c] - mean) / deviation) : 0.0f;
    }
}

PointsFile read_input(const Common& common, const ProjectArguments& arguments) {
    PointsFile points =
        std::filesystem::is_directory(arguments.in) ? read_session(common, arguments) : read_points(arguments.in);
    check_points(points.points, arguments.in);
    if (arguments.standardise) standardise(points.points);
    return points;
}

// -- the projection ---------------------------------------------------------------------------------------------------

struct Projected {
    PointTable layout;
    nlohmann::json figures;
};

Projected by_pca(const PointTable& points, const ProjectArguments& arguments) {
    const at::Tensor rows =
        at::from_blob(const_cast<float*>(points.values.data()), {points.rows, points.columns}, at::kFloat);
    const PcaProjection pca = fit_pca(rows, arguments.components);
    const at::Tensor placed = pca.project(rows).contiguous();
    const auto* values = placed.data_ptr<float>();
    const auto* explained = pca.explained.data_ptr<float>();
    return {{placed.size(0), placed.size(1), {values, values + placed.numel()}},
            {{"explained_variance", std::vector<float>(explained, explained + pca.explained.numel())}}};
}

PointMetric metric_from(const std::string& name) {
    if (name == "cosine") return PointMetric::cosine;
    return name == "correlation" ? PointMetric::correlation : PointMetric::euclidean;
}

Projected by_umap(const PointTable& points, const ProjectArguments& arguments) {
    UmapSettings settings = arguments.umap;
    settings.components = arguments.components;
    settings.metric = metric_from(arguments.metric);
    settings.start = arguments.start == "pca" ? UmapStart::pca : UmapStart::spectral;
    settings.reproducible = !arguments.parallel;
    Umap map(points, settings);
    run_to_end(map);
    return {map.layout(),
            {{"n_neighbors", settings.neighbors},
             {"min_dist", settings.min_dist},
             {"epochs", map.epochs()},
             {"seed", settings.seed},
             {"reproducible", settings.reproducible}}};
}

// Null where the points are too few for ranks to mean anything.
void add_quality(const PointTable& points, const ProjectArguments& arguments, Projected& projected) {
    QualityOptions options;
    options.neighbors = static_cast<int>(std::min<int64_t>(arguments.quality_neighbors, (points.rows - 1) / 2));
    options.metric = metric_from(arguments.metric);
    options.most_rows = arguments.quality_rows;
    nlohmann::json& figures = projected.figures;
    figures["trustworthiness"] = figures["continuity"] = nullptr;
    if (options.neighbors < 1) return;
    const ProjectionQuality quality = projection_quality(points, projected.layout, options);
    figures["trustworthiness"] = quality.trustworthiness;
    figures["continuity"] = quality.continuity;
    figures["quality_neighbors"] = quality.neighbors;
    figures["quality_rows"] = quality.rows_asked;
}

// -- files out --------------------------------------------------------------------------------------------------------

std::string csv_field(const std::string& text) {
    if (text.find_first_of(",\"\r\n") == std::string::npos) return text;
    std::string quoted = "\"";
    for (const char c : text) {
        if (c == '"') quoted += '"';
        quoted += c;
    }
    return quoted + "\"";
}

std::string to_csv(const PointsFile& points, const PointTable& layout) {
    std::ostringstream csv;
    csv << "row";
    for (const std::string& name : points.label_names) csv << "," << csv_field(name);
    for (int64_t c = 0; c < layout.columns; ++c)
        csv << ","
            << "xyz"[c];
    csv << "\n";
    for (int64_t i = 0; i < layout.rows; ++i) {
        csv << i;
        for (size_t j = 0; j < points.label_names.size(); ++j) csv << "," << csv_field(points.labels.at(i).at(j));
        for (int64_t c = 0; c < layout.columns; ++c) csv << "," << layout.row(i)[c];
        csv << "\n";
    }
    return csv.str();
}

int project(const Common& common, const ProjectArguments& arguments) {
    set_threads(common.threads);
    const PointsFile points = read_input(common, arguments);
    const auto start = std::chrono::steady_clock::now();
    Projected projected =
        arguments.method == "pca" ? by_pca(points.points, arguments) : by_umap(points.points, arguments);
    projected.figures["seconds"] = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    projected.figures["method"] = arguments.method;
    projected.figures["rows"] = points.points.rows;
    projected.figures["columns"] = points.points.columns;
    add_quality(points.points, arguments, projected);
    const std::string csv = to_csv(points, projected.layout);
    if (!arguments.out.empty()) {
        write_atomically(arguments.out, csv);
        projected.figures["out"] = arguments.out;
    }
    if (common.json)
        print_json(projected.figures);
    else if (arguments.out.empty())
        std::cout << csv;
    else
        std::cout << arguments.out << ": " << projected.figures.dump() << "\n";
    return 0;
}

void add_umap_options(CLI::App* command, ProjectArguments& arguments) {
    UmapSettings& umap = arguments.umap;
    command->add_option("--neighbors", umap.neighbors, "UMAP: n_neighbors")->capture_default_str();
    command->add_option("--min-dist", umap.min_dist, "UMAP: how closely points may lie")->capture_default_str();
    command->add_option("--spread", umap.spread, "UMAP: scale of the map")->capture_default_str();
    command->add_option("--epochs", umap.epochs, "UMAP: 0: 500 up to 10,000 points, 200 above")->capture_default_str();
    command->add_option("--seed", umap.seed, "UMAP: seed")->capture_default_str();
    command->add_option("--start", arguments.start, "UMAP: spectral or pca")
        ->check(CLI::IsMember({"spectral", "pca"}))
        ->capture_default_str();
    command->add_flag("--parallel", arguments.parallel, "UMAP: somewhat faster, not reproducible");
}

}  // namespace

void add_project(Registry registry) {
    auto arguments = std::make_shared<ProjectArguments>();
    CLI::App* command = add_command(registry, "project", "Project points into 2 or 3 dimensions: CSV out");
    command->add_option("--in", arguments->in, "Session folder (latents of a thought's path), or .csv or .npy")
        ->required()
        ->check(CLI::ExistingPath);
    command->add_option("--method", arguments->method, "pca or umap")
        ->check(CLI::IsMember({"pca", "umap"}))
        ->capture_default_str();
    command->add_option("--components", arguments->components, "2 or 3")
        ->check(CLI::Range(2, 3))
        ->capture_default_str();
    command->add_option("--metric", arguments->metric, "Distances between points")
        ->check(CLI::IsMember({"euclidean", "cosine", "correlation"}))
        ->capture_default_str();
    command->add_flag("--standardise", arguments->standardise, "Give every column mean 0 and deviation 1 first");
    command->add_option("--thought", arguments->thought, "Session: thought id; default: the current one")
        ->check(CLI::NonNegativeNumber);
    command->add_option("--group", arguments->group, "Session: layer group; default: all side by side")
        ->check(CLI::NonNegativeNumber);
    add_umap_options(command, *arguments);
    command->add_option("--quality-neighbors", arguments->quality_neighbors, "k of trustworthiness and continuity")
        ->check(CLI::PositiveNumber)
        ->capture_default_str();
    command->add_option("--quality-rows", arguments->quality_rows, "Measure them on so many points; 0: on all")
        ->check(CLI::NonNegativeNumber);
    command->add_option("--out", arguments->out, "CSV file; default: standard output");
    command->callback([registry, arguments] {
        registry.chosen = [&common = registry.common, arguments] { return project(common, *arguments); };
    });
}

}  // namespace savepoint::cli
