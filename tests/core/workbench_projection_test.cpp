#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <numbers>
#include <set>

#include "workbench_fixture.h"

using namespace savepoint;
using namespace savepoint::test;

namespace {

const char* const kText =
    "The sea is wide and cold. Ships cross it in a week, and the whales that live in it cross it in a month. "
    "A lighthouse stands where the rocks begin; its keeper writes letters to his sister in the city.";

ProjectionSettings settings_of(ProjectionMethod method) {
    ProjectionSettings settings;
    settings.method = method;
    settings.umap.neighbors = 6;
    settings.quality_neighbors = 5;
    return settings;
}

std::shared_ptr<const ProjectionView> project(Bench& bench, const ProjectionSettings& settings) {
    const auto view = bench.after(command::Project{settings}, true)->projection;
    REQUIRE_MESSAGE(view != nullptr, errors_of(*bench.now()));
    REQUIRE_MESSAGE(view->state == ProjectionState::done, errors_of(*bench.now()));
    return view;
}

void write_rings(const std::string& path, int rows) {
    std::ofstream file(path);
    file << "name,x,y,z\n";
    for (int i = 0; i < rows; ++i) {
        const double turn = 2 * std::numbers::pi * i / rows * 2, far = i % 2 ? 10 : 0;
        file << (i % 2 ? "far" : "near") << "," << std::cos(turn) << "," << std::sin(turn) << "," << far << "\n";
    }
}

}  // namespace

TEST_CASE("a UMAP of a path's latents: every token but the sinks, measured, reproducible, exported") {
    Bench& bench = Bench::shared();
    bench.after(raw(kText, greedy(8)), true);
    const auto tokens = static_cast<int64_t>(bench.now()->path->tokens.size());
    const auto view = project(bench, settings_of(ProjectionMethod::umap));

    REQUIRE(view->maps.size() == 1);
    const ProjectionMap& map = view->maps[0];
    CHECK(view->points->asked == tokens);
    REQUIRE(static_cast<int64_t>(view->points->points.size()) == tokens - 4);
    CHECK_FALSE(view->points->left_out.empty());
    CHECK(view->points->points[0].position == 4);
    CHECK(view->points->points[0].text == bench.now()->path->tokens[4]->text);
    REQUIRE(map.places->size() == view->points->points.size());
    CHECK(map.label == "all groups");
    CHECK(map.parts.size() == 10);
    CHECK(map.trustworthiness > 0.8);
    CHECK(map.continuity > 0.8);
    CHECK(map.quality_rows == tokens - 4);
    double explained = 0, share = 0;
    for (const ProjectionComponent& one : map.components) explained += one.explained;
    for (const float s : map.components[0].share) share += s;
    CHECK(explained > 0.7);
    CHECK(explained < 1 + 1e-4);
    CHECK(share == doctest::Approx(1).epsilon(1e-4));
    CHECK(map.components[0].top.size() == 6);
    const bool same = *project(bench, settings_of(ProjectionMethod::umap))->maps[0].places == *map.places;
    CHECK(same);
    ProjectionSettings other = settings_of(ProjectionMethod::umap);
    other.umap.seed = 2;
    const bool differs = *project(bench, other)->maps[0].places != *map.places;
    CHECK(differs);

    const TemporaryFolder folder("projection");
    bench.after(command::Export{"projection.csv", folder.file("p.csv")});
    std::ifstream lines(folder.file("p.csv"));
    std::string header, line;
    std::getline(lines, header);
    CHECK(header.starts_with("map,thought,position,layer,id,text,x,y,z,cluster"));
    int64_t count = 0;
    while (std::getline(lines, line)) ++count;
    CHECK(count >= tokens - 4);
    CHECK(errors_of(*bench.now()) == "");
}

TEST_CASE("live tokens are placed in the fitted map, and nothing that stood there moves") {
    Bench& bench = Bench::shared();
    bench.after(raw(kText, greedy(2)), true);
    const auto before = project(bench, settings_of(ProjectionMethod::umap));
    const auto after = bench.after(command::Continue{bench.now()->current, greedy(12)}, true)->projection;
    REQUIRE(after);
    const size_t fitted = before->points->points.size();
    CHECK(after->points->followed == 12);
    REQUIRE(after->maps[0].places->size() == fitted + 12);
    CHECK(std::equal(before->maps[0].places->begin(), before->maps[0].places->end(), after->maps[0].places->begin()));
    CHECK(after->points->points.back().position == static_cast<int64_t>(bench.now()->path->tokens.size()) - 1);
    for (const auto& place : *after->maps[0].places) CHECK(std::isfinite(place[0]));

    SUBCASE("a thought that is removed leaves the map") {
        const auto left = bench.after(command::RemoveThought{bench.now()->current}, true)->projection;
        CHECK(left->points->points.size() == fitted);
        CHECK(left->maps[0].places->size() == fitted);
    }
    SUBCASE("a new session has no map") { CHECK(bench.after(command::NewSession{}, true)->projection == nullptr); }
}

TEST_CASE("PCA that follows live tokens is the PCA of them all") {
    Bench& bench = Bench::shared();
    bench.after(raw(kText, greedy(2)), true);
    ProjectionSettings settings = settings_of(ProjectionMethod::pca);
    settings.source = ProjectionSource::hidden;
    settings.parts = {14};
    settings.scaling = ProjectionScaling::none;
    project(bench, settings);
    const auto followed = bench.after(command::Continue{bench.now()->current, greedy(8)}, true)->projection;
    const auto whole = project(bench, settings);
    REQUIRE(followed->maps[0].places->size() == whole->maps[0].places->size());
    CHECK(followed->points->followed == 8);
    CHECK(whole->maps[0].label == "layer 14");
    for (int k = 0; k < 3; ++k)
        CHECK(followed->maps[0].components[k].explained ==
              doctest::Approx(whole->maps[0].components[k].explained).epsilon(0.02));
    // The same picture, up to the sign of an axis.
    for (int k = 0; k < 2; ++k) {
        double dot = 0, a = 0, b = 0;
        for (size_t i = 0; i < whole->maps[0].places->size(); ++i) {
            const double x = (*followed->maps[0].places)[i][k], y = (*whole->maps[0].places)[i][k];
            dot += x * y, a += x * x, b += y * y;
        }
        CHECK(std::fabs(dot) / std::sqrt(a * b) > 0.99);
    }
}

TEST_CASE("small multiples: a map for each layer, of all thoughts, with clusters and the first tokens if asked for") {
    Bench& bench = Bench::shared();
    bench.after(raw(kText, greedy(4)), true);
    const ThoughtId first = bench.now()->current;
    bench.after(command::BranchHere{{first, 20}, seeded(10, 3)}, true);
    ProjectionSettings settings = settings_of(ProjectionMethod::pca);
    settings.source = ProjectionSource::hidden;
    settings.parts = {0, 15, 29};
    settings.arrangement = ProjectionArrangement::separate;
    settings.scope = ProjectionScope::all;
    settings.first_tokens = true;
    settings.clusters = ClusterMethod::kmeans;
    settings.cluster_count = 3;
    settings.umap.components = 3;
    const auto view = project(bench, settings);
    REQUIRE(view->maps.size() == 3);
    CHECK(view->maps[1].label == "layer 15");
    CHECK(view->maps[1].dimensions == 3);
    std::set<int64_t> thoughts;
    for (const ProjectionPoint& point : view->points->points) thoughts.insert(point.thought);
    CHECK(thoughts.size() == 2);
    CHECK(static_cast<int64_t>(view->points->points.size()) == view->points->asked);
    for (const ProjectionMap& map : view->maps) {
        REQUIRE(map.clusters);
        CHECK(map.clusters->size() == map.places->size());
        CHECK(std::set<int32_t>(map.clusters->begin(), map.clusters->end()).size() == 3);
    }
    // The first token is a sink: in the middle layers it dwarfs everything.
    const auto& middle = *view->maps[1].places;
    double most = 0;
    for (size_t i = 1; i < middle.size(); ++i) most = std::max<double>(most, std::fabs(middle[i][0]));
    CHECK(std::fabs(middle[0][0]) > 5 * most);
    settings.parts = {30};
    CHECK(errors_of(*bench.after(command::Project{settings}, true)).find("layer 30 is not there") != std::string::npos);
}

TEST_CASE(
    "layers stacked in one map: a point for each token and layer, which live tokens join; of hidden states only") {
    Bench& bench = Bench::shared();
    bench.after(raw(kText, greedy(2)), true);
    const auto tokens = bench.now()->path->tokens.size();
    ProjectionSettings settings = settings_of(ProjectionMethod::pca);
    settings.source = ProjectionSource::hidden;
    settings.parts = {3, 12, 21};
    settings.arrangement = ProjectionArrangement::stacked;
    const auto view = project(bench, settings);
    REQUIRE(view->maps.size() == 1);
    CHECK(view->maps[0].columns == bench.now()->model->d_model);
    REQUIRE(view->points->points.size() == 3 * (tokens - 4));
    CHECK(view->points->asked == static_cast<int64_t>(3 * tokens));
    CHECK(view->points->points[4].position == 5);
    CHECK(view->points->points[4].part == 12);
    const auto after = bench.after(command::Continue{bench.now()->current, greedy(5)}, true)->projection;
    CHECK(after->points->followed == 15);
    CHECK(after->maps[0].places->size() == view->maps[0].places->size() + 15);
    CHECK(after->points->points.back().part == 21);

    settings.source = ProjectionSource::latents;
    settings.parts = {0, 1};
    CHECK(errors_of(*bench.after(command::Project{settings}, true)).find("spaces of their own") != std::string::npos);
}

TEST_CASE("robust scaling: by median and quartiles, whatever an outlier does") {
    const TemporaryFolder folder("projection-robust");
    Bench bench(options_without_sidecar());
    {
        std::ofstream file(folder.file("outlier.csv"));
        file << "x,y\n";  // y is x in other units
        for (int i = 0; i < 9; ++i) file << i << "," << 100 * i - 7 << "\n";
        file << "1000,99993\n";
    }
    ProjectionSettings settings = settings_of(ProjectionMethod::pca);
    settings.source = ProjectionSource::file;
    settings.file = folder.file("outlier.csv");
    settings.scaling = ProjectionScaling::robust;
    settings.quality_neighbors = 2;
    const auto view = project(bench, settings);
    const auto& places = *view->maps[0].places;
    // Quartiles of 0 .. 8, 1000 are 2.25 and 6.75 (numpy.percentile): a step of 1 becomes 1.349 / 4.5 in each column.
    CHECK(std::fabs(places[1][0] - places[0][0]) == doctest::Approx(std::sqrt(2.0) * 1.349 / 4.5).epsilon(1e-4));
    CHECK(view->maps[0].components[0].explained == doctest::Approx(1).epsilon(1e-5));
    CHECK(std::fabs(view->maps[0].components[0].top[0].second) == doctest::Approx(std::sqrt(0.5)).epsilon(1e-4));
}

TEST_CASE("points of a file need no model; HDBSCAN finds the two rings, and cancelling keeps the map") {
    const TemporaryFolder folder("projection-file");
    Bench bench(options_without_sidecar());
    write_rings(folder.file("rings.csv"), 400);
    ProjectionSettings settings = settings_of(ProjectionMethod::umap);
    settings.source = ProjectionSource::file;
    settings.file = folder.file("rings.csv");
    settings.clusters = ClusterMethod::hdbscan;
    settings.scaling = ProjectionScaling::none;
    settings.umap.components = 3;
    const auto view = project(bench, settings);
    CHECK(view->points->points.size() == 400);
    CHECK(view->points->points[3].text == "far");
    CHECK(view->points->label_names == std::vector<std::string>{"name"});
    CHECK(view->maps[0].cluster_count >= 2);
    for (size_t i = 0; i < 400; ++i)  // no cluster joins the rings
        for (size_t j : {size_t{0}, size_t{1}})
            if ((*view->maps[0].clusters)[i] >= 0 && (*view->maps[0].clusters)[i] == (*view->maps[0].clusters)[j])
                CHECK(i % 2 == j % 2);

    write_rings(folder.file("many.csv"), 6000);
    settings.file = folder.file("many.csv");
    settings.clusters = ClusterMethod::none;
    settings.umap.epochs = 5000;
    bench.send(command::Project{settings});
    std::set<float> seen;  // it moves while it runs
    REQUIRE(bench.wait_for([&](const Snapshot& s) {
        if (s.projection && s.projection->state == ProjectionState::running && !s.projection->maps.empty() &&
            s.projection->maps[0].places && s.projection->maps[0].stage == "laying out")
            seen.insert((*s.projection->maps[0].places)[0][0]);
        return seen.size() >= 4;
    }));
    const int64_t job = bench.now()->jobs->back().id;
    const auto kept = bench.after(command::CancelJob{job}, true)->projection;
    CHECK(kept->state == ProjectionState::cancelled);
    CHECK(kept->maps[0].places->size() == 6000);
    CHECK(bench.now()->jobs->back().state == JobView::State::cancelled);

    settings.file = folder.file("nowhere.csv");
    bench.after(command::Project{settings}, true);
    CHECK(bench.now()->projection->state == ProjectionState::failed);
    CHECK(bench.now()->projection->error.find("nowhere.csv") != std::string::npos);
}

TEST_CASE("what a view has drawn up is written; nothing to project is said") {
    Bench& bench = Bench::shared(false);
    const TemporaryFolder folder("projection-write");
    bench.after(command::WriteFile{folder.file("a.svg"), "<svg/>"});
    std::ifstream file(folder.file("a.svg"));
    std::string text;
    std::getline(file, text);
    CHECK(text == "<svg/>");
    ProjectionSettings hidden = settings_of(ProjectionMethod::pca);
    hidden.source = ProjectionSource::hidden;
    CHECK(errors_of(*bench.after(command::Project{hidden}, true)).find("generate from a prompt") != std::string::npos);
    CHECK(errors_of(*bench.after(command::Project{settings_of(ProjectionMethod::pca)}, true)).find("no sidecar") !=
          std::string::npos);
}
