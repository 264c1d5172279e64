// UMAP of ours, timed; umap_compare.py runs it beside umap-learn.
//   bench_umap_bench map IN.npy OUT.npy [parallel]    maps [n, d] to [n, 2]; prints one JSON of seconds and quality
//   bench_umap_bench neighbours ROWS COLUMNS [parallel]    exact neighbours and HNSW's of ROWS points in COLUMNS
//   numbers
//                                                     (a 12-dimensional sheet, bent, with noise): seconds, recall
//   bench_umap_bench latents OUT.npy ROWS COLUMNS     real latents: z of the middle layer group, of corpus text, its
//                                                     first COLUMNS components (needs `savepoint fit --default`)
#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <iostream>
#include <nlohmann/json.hpp>

#include "core/analysis/approximate_search.h"
#include "core/analysis/points_file.h"
#include "core/analysis/reference_fit.h"
#include "core/analysis/trustworthiness.h"
#include "core/analysis/umap.h"
#include "core/model/device.h"
#include "core/model/error.h"

using namespace savepoint;

namespace {

double now() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

int map_points(const std::string& in, const std::string& out, bool parallel) {
    const PointTable points = read_points(in).points;
    UmapSettings settings;
    settings.reproducible = !parallel;
    nlohmann::json stages = nlohmann::json::object();
    const double start = now();
    Umap map(points, settings);
    for (bool more = true; more;) {
        const std::string stage = map.stage();
        const double began = now();
        more = map.step(10);
        stages[stage] = stages.value(stage, 0.0) + now() - began;
    }
    const double seconds = now() - start;
    write_npy(out, map.layout());
    const double measured = now();
    const ProjectionQuality quality = projection_quality(points, map.layout());
    std::cout << nlohmann::json{{"seconds", seconds},
                                {"stages", stages},
                                {"threads", threads()},
                                {"epochs", map.epochs()},
                                {"reproducible", settings.reproducible},
                                {"trustworthiness", quality.trustworthiness},
                                {"continuity", quality.continuity},
                                {"quality_seconds", now() - measured}}
              << std::endl;
    return 0;
}

// Points that lie on a smooth sheet, as latents do: what is far in all columns at once has no near neighbours to find.
PointTable sheet(int64_t rows, int64_t columns) {
    const at::Tensor places = at::randn({rows, 12}, at::make_generator<at::CPUGeneratorImpl>(1));
    const at::Tensor bend = at::randn({12, columns}, at::make_generator<at::CPUGeneratorImpl>(2));
    const at::Tensor noise = at::randn({rows, columns}, at::make_generator<at::CPUGeneratorImpl>(3));
    const at::Tensor values = (at::sin(places.mm(bend) * 0.5) + 0.05 * noise).contiguous();
    PointTable points{rows, columns, {}};
    points.values.assign(values.data_ptr<float>(), values.data_ptr<float>() + values.numel());
    return points;
}

int compare_neighbours(int64_t rows, int64_t columns, bool parallel) {
    const PointSearch search(sheet(rows, columns), PointMetric::euclidean);
    double began = now();
    const Neighbours exact = search.search_all(14);
    const double exact_seconds = now() - began;
    ApproximateSearch::Options options;
    options.reproducible = !parallel;
    began = now();
    ApproximateSearch graph(search, options);
    for (int64_t done = -1; done != graph.inserted();) done = graph.inserted(), graph.insert(1000);
    const double built = now() - began;
    Neighbours found = exact;
    graph.search(0, rows, found);
    const double seconds = now() - began;
    int64_t hits = 0;
    for (int64_t i = 0; i < rows; ++i)
        for (int64_t j = 0; j < 14; ++j)
            hits += std::count(&exact.index[i * 14], &exact.index[i * 14] + 14, found.index[i * 14 + j]);
    std::cout << nlohmann::json{{"rows", rows},
                                {"columns", columns},
                                {"threads", threads()},
                                {"exact_seconds", exact_seconds},
                                {"hnsw_seconds", seconds},
                                {"hnsw_build_seconds", built},
                                {"recall", static_cast<double>(hits) / static_cast<double>(14 * rows)}}
              << std::endl;
    return 0;
}

std::string home_data() {
    const char* data = std::getenv("SAVEPOINT_DATA");
    const char* home = std::getenv("HOME");
    return data && *data ? data : std::string(home ? home : ".") + "/.local/share/savepoint";
}

int write_latents(const std::string& out, int64_t rows, int64_t columns) {
    constexpr int64_t length = 192, sinks = 4;  // the first tokens of a path are attention sinks, far from all others
    const char* named = std::getenv("SAVEPOINT_MODEL");
    const std::string path = named && *named ? named : SAVEPOINT_DEFAULT_MODEL;
    const auto weights = Weights::from_gguf(path);
    const Transformer model(weights);
    const Tokenizer tokenizer(path);
    const auto fit = load_fit(home_data() + "/" + weights->sha256().substr(0, 16), weights);
    if (!fit.sidecar) throw Error("no fitted sidecar; make one with `savepoint fit --default`");
    const TokenSplit split =
        split_corpus(fortunes_corpus(), tokenizer, length, rows * length / (length - sinks) + length, 0, 1);
    const int64_t middle = static_cast<int64_t>(fit.sidecar->hidden().groups().size()) / 2;
    PointTable latents{rows, columns, {}};
    for (const auto& tokens : split.fit) {
        KvCache cache = model.make_cache(length);
        const at::Tensor z = fit.sidecar->encode(model.prefill(cache, tokens).rows).hidden.select(1, middle);
        const at::Tensor kept = z.slice(1, 0, columns).contiguous();
        const auto* values = kept.data_ptr<float>();
        for (int64_t t = sinks; t < kept.size(0) && static_cast<int64_t>(latents.values.size()) < rows * columns; ++t)
            latents.values.insert(latents.values.end(), values + t * columns, values + (t + 1) * columns);
    }
    latents.rows = static_cast<int64_t>(latents.values.size()) / columns;
    write_npy(out, latents);
    std::cout << nlohmann::json{{"rows", latents.rows}, {"columns", columns}, {"group", middle}} << std::endl;
    return 0;
}

}  // namespace

int main(int argc, char** argv) {
    try {
        set_threads(0);
        const std::string what = argc > 1 ? argv[1] : "";
        if (what == "map" && argc >= 4) return map_points(argv[2], argv[3], argc > 4);
        if (what == "neighbours" && argc >= 4)
            return compare_neighbours(std::atoll(argv[2]), std::atoll(argv[3]), argc > 4);
        if (what == "latents" && argc == 5) return write_latents(argv[2], std::atoll(argv[3]), std::atoll(argv[4]));
        std::cerr << "bench_umap_bench map IN.npy OUT.npy [parallel] | neighbours ROWS COLUMNS [parallel] | latents "
                     "OUT.npy ROWS COLUMNS\n";
        return 2;
    } catch (const std::exception& error) {
        std::cerr << error.what() << "\n";
        return 1;
    }
}
