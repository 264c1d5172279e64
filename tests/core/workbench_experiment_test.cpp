#include <filesystem>
#include <fstream>

#include "core/workbench/experiment_view.h"
#include "workbench_fixture.h"

using namespace savepoint;
using namespace savepoint::test;

TEST_CASE(
    "an experiment runs in the background, publishes its rows as they come, and is exported; a bad file is refused") {
    const TemporaryFolder folder("experiment");
    const auto bench = Bench::ready();
    const std::string file = folder.file("e.json");
    std::ofstream(file) << R"({"builtin": "gibberish_8", "phi": ["elu1"], "forms": ["read_out"], "layers": ["middle"],
                               "detectors": ["mahalanobis"], "most": 40, "bootstrap": 20, "equal_features": 0})";
    bench->send(command::RunExperiment{"", file, true});
    // Generation goes first: it ends while the experiment still runs.
    const auto generated = bench->after(raw("The sea is", greedy(4)));
    REQUIRE(generated->experiment);
    CHECK(generated->experiment->phase == Phase::working);
    bench->settle();
    CHECK(errors_of(*bench->now()) == "");
    const auto view = bench->now()->experiment;
    REQUIRE(view->phase == Phase::ready);
    CHECK(view->name == "gibberish_8");
    CHECK(view->result->rows.size() == 2 + 3 * 2);
    CHECK(view->result->texts.size() == 20);
    for (const char* ending : {".csv", ".html", ".json"}) {
        const std::string path = folder.file(std::string("out") + ending);
        bench->after(command::Export{std::string("experiment") + ending, path});
        CHECK(std::filesystem::file_size(path) > 400);
    }
    bench->after(command::RunExperiment{"states", "", false});
    bench->settle();
    CHECK(errors_of(*bench->now()).find("states") != std::string::npos);
}
