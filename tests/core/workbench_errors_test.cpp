// What cannot be done says so, names the way out, and loses nothing.

#include <fstream>
#include <nlohmann/json.hpp>

#include "workbench_fixture.h"

using namespace savepoint;
using namespace savepoint::test;

namespace {

// One new error with these words, and the thoughts as they were.
void refused(Bench& bench, Command command, const std::string& words) {
    const auto before = bench.now();
    const auto after = bench.after(std::move(command));
    REQUIRE_MESSAGE(after->errors.size() == before->errors.size() + 1, "expected: ", words);
    const ErrorView& error = after->errors.back();
    CHECK_MESSAGE(error.message.find(words) != std::string::npos, error.message);
    CHECK_FALSE(error.title.empty());
    CHECK(after->graph->thoughts.size() == before->graph->thoughts.size());
    CHECK(ids_of(*after) == ids_of(*before));
    CHECK(after->current == before->current);
    const auto dismissed = bench.after(command::DismissError{error.id});
    CHECK(dismissed->errors.size() == before->errors.size());
}

void overwrite_middle(const std::filesystem::path& file) {
    std::fstream stream(file, std::ios::in | std::ios::out | std::ios::binary);
    const auto size = static_cast<std::streamoff>(std::filesystem::file_size(file));
    stream.seekp(size / 2);
    stream.write("damage damage damage", 20);
}

std::filesystem::path any_blob(const std::string& session) {
    for (const auto& entry : std::filesystem::directory_iterator(session + "/blobs")) return entry.path();
    return {};
}

}  // namespace

TEST_CASE("without a model everything that needs one says so") {
    Bench bench(options_without_sidecar());
    refused(bench, raw("Hello", greedy(1)), "no model is loaded");
    refused(bench, command::SaveSession{"/tmp/nowhere.savepoint", ""}, "no model is loaded");
    refused(bench, command::FitSidecar{}, "no model is loaded");
    refused(bench, command::Continue{1, greedy(1)}, "no model is loaded");
    refused(bench, command::LoadModel{"/nowhere/model.gguf"}, "/nowhere/model.gguf");
    CHECK(bench.now()->model->phase == Phase::failed);
    CHECK_FALSE(bench.now()->model->error.empty());
}

TEST_CASE("a file that is no model fails, and the loaded one stays in use") {
    const TemporaryFolder folder("errors");
    std::ofstream(folder.file("text.gguf")) << "this is no model at all";
    Bench& bench = Bench::shared(false);
    bench.after(raw("Hello", greedy(2)));
    refused(bench, command::LoadModel{folder.file("text.gguf")}, "text.gguf");
    CHECK(bench.now()->model->phase == Phase::ready);
    CHECK(bench.after(command::Continue{1, greedy(1)})->errors.empty());
}

TEST_CASE("commands that cannot be carried out") {
    Bench& bench = Bench::shared(false);
    bench.after(raw("The sky is", greedy(4)));

    SUBCASE("prompts") {
        refused(bench, raw("", greedy(1)), "prompt is empty");
        refused(bench, chat("  \n ", greedy(1)), "prompt is empty");
        refused(bench, raw("caf\xe9 au lait", greedy(1)), "not valid UTF-8: byte 3");
        refused(bench, chat("\xc3", greedy(1)), "not valid UTF-8");
        std::string text;
        for (int i = 0; i < 9000; ++i) text += " word";
        refused(bench, raw(text, greedy(1)), "context holds 8192");
    }
    SUBCASE("settings") {
        GenerateSettings settings = seeded(4, 1);
        settings.sampler.temperature = -1;
        refused(bench, raw("Hello", settings), "temperature");
        settings = greedy(-5);
        refused(bench, raw("Hello", settings), "max_tokens");
    }
    SUBCASE("places that are not there") {
        refused(bench, command::Continue{77, greedy(1)}, "77");
        refused(bench, command::SetCurrent{77}, "77");
        refused(bench, command::Select{{1, 500}}, "500");
        refused(bench, command::Select{{1, -1}}, "-1");
        refused(bench, command::BranchHere{{1, 500}, greedy(1)}, "500");
        refused(bench, command::ReplaceToken{{1, 1}, 1 << 30, greedy(1)}, "vocabulary");
        refused(bench, command::Rename{77, "x"}, "77");
        refused(bench, command::RemoveThought{77}, "77");
        bench.after(command::Continue{1, greedy(1)});
        refused(bench, command::RemoveThought{1}, "1");
        refused(bench, command::SetTrajectory{{77}, -1}, "77");
        refused(bench, command::MeasureResume{1, 0}, "sidecar");
    }
    SUBCASE("edits without a sidecar") {
        refused(bench, command::PreviewEdit{{1, 2}, {set_component(2, 0, 0, 1)}}, "sidecar");
        refused(bench, command::ResumeEdit{{1, 2}, {set_component(2, 0, 0, 1)}, greedy(1)}, "sidecar");
        refused(bench, command::LoadSidecar{"/nowhere"}, "/nowhere");
    }
    SUBCASE("files") {
        refused(bench, command::OpenSession{"/nowhere.savepoint"}, "/nowhere.savepoint");
        refused(bench, command::SaveSession{"", ""}, "folder");
        refused(bench, command::SaveSession{"/proc/nowhere.savepoint", ""}, "/proc/nowhere.savepoint");
        refused(bench, command::Export{"nothing.csv", "/tmp/x"}, "nothing.csv");
        refused(bench, command::Export{"transcript.csv", "/nowhere/x.csv"}, "/nowhere/x.csv");
        refused(bench, command::Export{"preview.csv", "/tmp/x"}, "preview");
        refused(bench, command::Export{"anomaly.csv", "/tmp/x"}, "sidecar");
    }
    SUBCASE("a session of another model, or of another tokenizer") {
        const TemporaryFolder folder("foreign");
        const std::string session = folder.file("a.savepoint"), manifest = session + "/manifest.json";
        REQUIRE(bench.after(command::SaveSession{session, ""})->errors.empty());
        const nlohmann::json own = nlohmann::json::parse(std::ifstream(manifest));
        for (const char* field : {"/model/sha256", "/tokenizer_hash"}) {
            nlohmann::json foreign = own;
            foreign[nlohmann::json::json_pointer(field)] = std::string(64, '0');
            std::ofstream(manifest) << foreign.dump();
            refused(bench, command::OpenSession{session}, "000000000000");
        }
        CHECK(bench.now()->session.folder == session);
        CHECK(bench.after(command::Continue{1, greedy(2)})->errors.empty());
    }
    SUBCASE("a damaged session, and nothing of the present one is lost") {
        const TemporaryFolder folder("damaged");
        const std::string session = folder.file("a.savepoint");
        REQUIRE(bench.after(command::SaveSession{session, ""})->errors.empty());
        overwrite_middle(any_blob(session));
        refused(bench, command::OpenSession{session}, "a.savepoint");
        std::ofstream(session + "/manifest.json") << "{ this is not json";
        refused(bench, command::OpenSession{session}, "manifest.json");
        CHECK(bench.after(command::Continue{1, greedy(2)})->errors.empty());
    }
}

TEST_CASE("edits out of range are refused by name") {
    Bench& bench = Bench::shared();
    bench.after(raw("The sky is", greedy(4)), true);
    const TokenRef at{1, 4};
    refused(bench, command::PreviewEdit{at, {set_component(4, 999, 0, 1)}}, "group");
    refused(bench, command::PreviewEdit{at, {set_component(4, 0, 9999, 1)}}, "component");
    refused(bench, command::PreviewEdit{at, {set_component(5, 0, 0, 1)}}, "beyond the selected token");
    refused(bench, command::PreviewEdit{at, {set_component(4, 0, 0, NAN)}}, "finite");
    refused(bench, command::PreviewEdit{{1, 400}, {set_component(400, 0, 0, 1)}}, "400");
    refused(bench, command::PreviewEdit{at, {set_component(4, 0, 0, INFINITY)}}, "finite");
    refused(bench, command::ResumeEdit{at, {set_component(4, 0, 0, NAN)}, greedy(1)}, "finite");
    refused(bench, command::ResumeEdit{at, {}, greedy(1)}, "no edits");
    refused(bench, command::MeasureResume{1, 4000}, "prefix");
    CHECK(bench.now()->graph->thoughts.size() == 1);
}

TEST_CASE("an edit far beyond every state is refused or finite, and what it makes can be saved and opened") {
    const TemporaryFolder folder("far");
    const std::string session = folder.file("a.savepoint");
    Bench& bench = Bench::shared();
    bench.after(raw("The sky is", greedy(4)), true);
    const auto edits_of = [](LatentPart part, double amount) {
        LatentEdit edit = set_component(4, 2, 0, amount);
        edit.part = part;
        return std::vector<LatentEdit>{set_component(2, 2, 0, 1), edit};
    };
    // Too large for a latent, or for what it decodes to; whole or not at all, though tokens 2 and 3 have run.
    for (const LatentPart part : {LatentPart::hidden, LatentPart::key}) {
        for (const double amount : {1e37, 3e38, 1e300}) {
            refused(bench, command::PreviewEdit{{1, 4}, edits_of(part, amount)}, "NaN or infinity");
            refused(bench, command::ResumeEdit{{1, 4}, edits_of(part, amount), greedy(2)}, "NaN or infinity");
        }
    }
    for (const LatentPart part : {LatentPart::hidden, LatentPart::key, LatentPart::value}) {
        auto shown = bench.after(command::PreviewEdit{{1, 4}, edits_of(part, 1e18)});
        REQUIRE_MESSAGE(shown->errors.empty(), errors_of(*shown));
        CHECK(std::isfinite(shown->preview->kl_edited));
        for (const PreviewRow& row : shown->preview->rows) CHECK(std::isfinite(row.edited));
        bench.after(command::ResumeEdit{{1, 4}, edits_of(part, 1e18), greedy(2)}, true);
        REQUIRE(bench.after(command::SaveSession{session, ""})->errors.empty());
        shown = bench.after(command::OpenSession{session}, true);
        CHECK_MESSAGE(shown->errors.empty(), errors_of(*shown));
        bench.after(command::SetCurrent{1}, true);
    }
    CHECK(bench.now()->graph->thoughts.size() == 4);
    bench.after(command::NewSession{}, true);
}
