#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "core/state/safetensors.h"
#include "workbench_fixture.h"

using namespace savepoint;
using namespace savepoint::test;

namespace {

// Rows of fields; quotes may hold commas and line ends (RFC 4180).
std::vector<std::vector<std::string>> parse_csv(const std::string& path) {
    const std::string text = read_file(path);
    std::vector<std::vector<std::string>> rows{{""}};
    bool quoted = false;
    for (size_t i = 0; i < text.size(); ++i) {
        const char c = text[i];
        if (c == '"' && quoted && i + 1 < text.size() && text[i + 1] == '"')
            rows.back().back() += text[++i];
        else if (c == '"')
            quoted = !quoted;
        else if (c == ',' && !quoted)
            rows.back().emplace_back();
        else if (c == '\n' && !quoted)
            rows.push_back({""});
        else
            rows.back().back() += c;
    }
    rows.pop_back();
    return rows;
}

void check_table(const std::string& path, size_t rows, size_t columns) {
    const auto table = parse_csv(path);
    CHECK_MESSAGE(table.size() == rows + 1, path);
    for (const auto& row : table) REQUIRE_MESSAGE(row.size() == columns, path);
}

int64_t files_in(const std::filesystem::path& folder) {
    if (!std::filesystem::exists(folder)) return 0;
    int64_t count = 0;
    for (const auto& entry : std::filesystem::recursive_directory_iterator(folder)) count += entry.is_regular_file();
    return count;
}

int64_t running_fit(const Snapshot& snapshot) {
    for (const JobView& job : *snapshot.jobs)
        if (job.name == "Fitting the sidecar" && job.state == JobView::State::running) return job.id;
    return 0;
}

}  // namespace

TEST_CASE("a cancelled fit leaves no file, and the workbench goes on without a sidecar") {
    const TemporaryFolder folder("fit");
    WorkbenchOptions options = small_options();
    options.data_folder = folder.path().string();
    Bench bench(options);
    bench.send(command::LoadModel{model_path()});
    REQUIRE(bench.wait_for([](const Snapshot& s) { return running_fit(s) != 0 && s.sidecar->progress > 0; }));
    CHECK(bench.now()->sidecar->phase == Phase::working);
    CHECK_FALSE(bench.now()->sidecar->stage.empty());
    const auto shown = bench.after(command::CancelJob{running_fit(*bench.now())}, true);
    CHECK(shown->sidecar->phase == Phase::absent);
    CHECK(files_in(folder.path()) == 0);
    CHECK(shown->errors.empty());
    const auto generated = bench.after(raw("Hello", greedy(3)), true);
    CHECK(generated->errors.empty());
    CHECK(generated->latent == nullptr);
    CHECK(generated->anomaly == nullptr);
}

TEST_CASE("a damaged stored sidecar is reported and fitted again") {
    const TemporaryFolder folder("refit");
    Bench& fitted = Bench::shared();  // makes sure that one is kept
    const std::string name = std::filesystem::path(fitted.now()->sidecar->path).filename().string();
    std::filesystem::create_directories(folder.path() / name);
    for (const char* file : {"sidecar.safetensors", "reference.safetensors"})
        std::ofstream(folder.path() / name / file) << "damaged";

    WorkbenchOptions options = small_options();
    options.data_folder = folder.path().string();
    Bench bench(options);
    bench.send(command::LoadModel{model_path()});
    REQUIRE(bench.wait_for([](const Snapshot& s) { return running_fit(s) != 0; }));
    const auto& log = *bench.now()->log;
    CHECK(std::any_of(log.begin(), log.end(), [](const LogLine& line) {
        return line.level == LogLine::Level::warning && line.text.find("sidecar.safetensors") != std::string::npos;
    }));
    const auto loaded = bench.after(command::LoadSidecar{fitted.now()->sidecar->path}, true);
    CHECK(loaded->sidecar->phase == Phase::ready);
    CHECK(loaded->sidecar->hash == fitted.now()->sidecar->hash);
}

TEST_CASE("every export can be read back") {
    const TemporaryFolder folder("exports");
    Bench& bench = Bench::shared();
    auto shown = bench.after(chat("Say \"hi\", please,\nthen stop.", greedy(6)), true);
    const TokenRef token{shown->current, static_cast<int64_t>(shown->path->tokens.size()) - 2};
    bench.after(command::Select{token});
    bench.after(command::PreviewEdit{token, {set_component(token.position, 2, 0, 3)}});
    for (const char* what : {"transcript.csv", "anomaly.csv", "trajectory.csv", "reconstruction.csv", "preview.csv",
                             "graph.json", "latents.safetensors"}) {
        shown = bench.after(command::Export{what, folder.file(what)});
        REQUIRE_MESSAGE(shown->errors.empty(), errors_of(*shown));
    }
    const size_t tokens = shown->path->tokens.size();
    const auto layers = static_cast<size_t>(shown->model->layers), heads = static_cast<size_t>(shown->model->heads);
    check_table(folder.file("transcript.csv"), tokens, 12);
    check_table(folder.file("anomaly.csv"), tokens * layers * heads, 7);
    check_table(folder.file("trajectory.csv"), shown->trajectory->points.size(), 9);
    check_table(folder.file("reconstruction.csv"), layers + 2 * layers * static_cast<size_t>(shown->model->kv_heads),
                6);
    check_table(folder.file("preview.csv"), shown->preview->rows.size(), 5);
    const auto transcript = parse_csv(folder.file("transcript.csv"));
    for (size_t i = 0; i < tokens; ++i) CHECK(transcript[i + 1][3] == shown->path->tokens[i]->text);

    const nlohmann::json graph = nlohmann::json::parse(read_file(folder.file("graph.json")));
    CHECK(graph["thoughts"].size() == 1);
    CHECK(graph["thoughts"][0]["tokens"].size() == tokens);
    const TensorFile latents = read_safetensors(folder.file("latents.safetensors"));
    CHECK(latents.tensors.at("hidden").size(0) == static_cast<int64_t>(tokens));
    CHECK(latents.tensors.at("key").size(1) == shown->model->layers);
    CHECK(latents.metadata.at("sidecar") == shown->sidecar->hash);
}

TEST_CASE("sessions: saving while generating, new ones, and what was not saved") {
    const TemporaryFolder folder("sessions");
    const std::string session = folder.file("running.savepoint");
    Bench& bench = Bench::shared(false);
    bench.send(raw("Counting: one, two,", greedy(150)));
    REQUIRE(bench.wait_for([](const Snapshot& s) { return s.path && s.path->tokens.size() > 12; }));
    bench.send(command::SaveSession{session, "view"});
    REQUIRE(bench.wait_for([&](const Snapshot& s) { return s.session.folder == session; }));
    CHECK(bench.now()->status.generating);
    bench.finish_commands();
    const auto whole = ids_of(*bench.now());
    CHECK(bench.now()->session.modified);

    const int64_t opened = bench.now()->session.opened;
    auto shown = bench.after(command::NewSession{});
    CHECK(shown->graph->thoughts.empty());
    CHECK(shown->session.folder.empty());
    CHECK(shown->session.opened == opened + 1);
    shown = bench.after(command::OpenSession{session});
    REQUIRE_MESSAGE(shown->errors.empty(), errors_of(*shown));
    const auto saved = ids_of(*shown);
    CHECK(saved.size() > 12);
    CHECK(saved == part(whole, 0, static_cast<int64_t>(saved.size())));
    CHECK_FALSE(shown->session.modified);
    CHECK(shown->session.view == "view");
    const auto left = static_cast<int64_t>(whole.size() - saved.size());
    CHECK(ids_of(*bench.after(command::Continue{shown->current, greedy(left)})) == whole);
}
