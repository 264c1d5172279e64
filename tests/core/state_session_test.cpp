#include <ATen/ATen.h>
#include <doctest/doctest.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "core/model/error.h"
#include "core/state/files.h"
#include "core/state/session_manifest.h"
#include "tests/core/state_toy.h"

using namespace savepoint;
using nlohmann::json;
namespace fs = std::filesystem;

namespace {

std::string problem_of(const std::function<void()>& action) {
    try {
        action();
    } catch (const FileError& e) {
        return e.what();
    }
    return "";
}

void check_says(const std::function<void()>& action, const std::vector<std::string>& words) {
    const std::string problem = problem_of(action);
    for (const std::string& word : words)
        CHECK_MESSAGE(problem.find(word) != std::string::npos, "\"", problem, "\" lacks \"", word, "\"");
}

json read_manifest(const std::string& session) { return json::parse(read_file(session + "/manifest.json")); }

void write_manifest(const std::string& session, const json& manifest) {
    write_atomically(session + "/manifest.json", manifest.dump());
}

std::vector<fs::path> blobs(const std::string& session) {
    std::vector<fs::path> paths;
    for (const auto& entry : fs::directory_iterator(session + "/blobs")) paths.push_back(entry.path());
    std::sort(paths.begin(), paths.end());
    return paths;
}

struct Saved {
    toy::Folder folder;
    std::string path = folder.path("a.savepoint");
    toy::Story story = toy::make_story();
    SaveReport report = save_session(path, story.contents);
};

}  // namespace

TEST_CASE("a session comes back equal, field by field") {
    const Saved saved;
    const SessionIdentity now = toy::identity();
    const SessionContents opened = open_session(saved.path, &now, false);
    CHECK(toy::difference(saved.story.contents, opened) == "");
    CHECK_FALSE(opened.graph.at(saved.story.first).rows.has_hidden());
    CHECK(saved.report.blobs_total == 6);  // 4 thoughts with tokens, one of them longer than a segment, and one's edits
    CHECK(saved.report.blobs_written == 6);
    CHECK(inspect_session(saved.path, true).problems.empty());
}

TEST_CASE("the memory of an opened session is what its rows need") {
    const Saved saved;
    const ThoughtGraph opened = open_session(saved.path).graph;
    const int64_t token = (2 * 3 * 2 * 16 + 64) * 4, edits = (64 + 2 * 2 * 16) * 4;
    CHECK(opened.bytes() == (64 + 21 + 21 + 300) * token + edits);
}

TEST_CASE("saving again writes only what is new, and removes what nothing refers to") {
    Saved saved;
    CHECK(save_session(saved.path, saved.story.contents).blobs_written == 0);
    ThoughtGraph& graph = saved.story.contents.graph;
    LiveCache live(toy::model(), graph);
    toy::generate(graph, live, saved.story.edited, 3);
    std::ofstream(saved.path + "/blobs/x.part") << "left by a crash";
    const SaveReport report = save_session(saved.path, saved.story.contents);
    CHECK(report.blobs_written == 1);
    CHECK(report.blobs_total == 6);
    CHECK(blobs(saved.path).size() == 6);
    CHECK(toy::difference(saved.story.contents, open_session(saved.path)) == "");
}

TEST_CASE("an incomplete thought is saved with what it has") {
    Saved saved;
    CHECK_FALSE(open_session(saved.path).graph.at(saved.story.edited).complete);
    CHECK(open_session(saved.path).graph.at(saved.story.edited).tokens.size() == 21);
}

TEST_CASE("a session of another model, tokenizer or sidecar is refused, saying what differs") {
    const Saved saved;
    const auto open_with = [&](auto change, bool any_sidecar) {
        SessionIdentity now = toy::identity();
        change(now);
        return [&saved, now, any_sidecar] { open_session(saved.path, &now, any_sidecar); };
    };
    check_says(open_with(
                   [](auto& id) {
                       id.model_sha256 = "123456";
                       id.model_name = "other";
                   },
                   true),
               {"a.savepoint", "model toy", "other (123456)", "Load that model"});
    check_says(open_with([](auto& id) { id.tokenizer_hash = "99"; }, true), {"tokenizer aaaaaaaaaaaa", "loaded is 99"});
    check_says(open_with([](auto& id) { id.sidecar_hash = ""; }, false), {"sidecar bbbbbbbbbbbb", "loaded is none"});
    CHECK(problem_of(open_with([](auto& id) { id.sidecar_hash = ""; }, true)) == "");
}

TEST_CASE("a damaged blob is refused wherever it is damaged; a missing one too") {
    const Saved saved;
    for (const fs::path& path : blobs(saved.path)) {
        const std::string good = read_file(path.string());
        for (const size_t at : {size_t{0}, size_t{9}, size_t{40}, good.size() / 2, good.size() - 1}) {
            std::string bad = good;
            bad[at] = static_cast<char>(bad[at] ^ 0x10);
            std::ofstream(path, std::ios::binary) << bad;
            check_says([&] { open_session(saved.path); }, {path.filename().string(), "is damaged"});
            CHECK(inspect_session(saved.path, true).problems.size() == 1);
        }
        std::ofstream(path, std::ios::binary) << good.substr(0, good.size() / 2);
        check_says([&] { open_session(saved.path); }, {"is damaged"});
        fs::remove(path);
        check_says([&] { open_session(saved.path); }, {path.filename().string(), "cannot be opened"});
        CHECK(inspect_session(saved.path, false).problems.size() == 1);
        std::ofstream(path, std::ios::binary) << good;
    }
    CHECK(toy::difference(saved.story.contents, open_session(saved.path)) == "");
}

TEST_CASE("a damaged blob on disk is written anew when its size tells") {
    const Saved saved;
    const fs::path path = blobs(saved.path).front();
    fs::resize_file(path, 10);
    CHECK(save_session(saved.path, saved.story.contents).blobs_written == 1);
    CHECK(toy::difference(saved.story.contents, open_session(saved.path)) == "");
}

TEST_CASE("a version from the future is refused, an old one migrates step by step") {
    const Saved saved;
    json manifest = read_manifest(saved.path);
    manifest["schema_version"] = kSessionSchema + 1;
    write_manifest(saved.path, manifest);
    check_says([&] { open_session(saved.path); },
               {"manifest.json: schema_version is 3", "reads up to 2", "newer Savepoint"});
    manifest["schema_version"] = 0;
    write_manifest(saved.path, manifest);
    check_says([&] { open_session(saved.path); }, {"schema_version is 0"});

    json old = {{"schema_version", 1}, {"a", 1}};
    const std::vector<Migration> steps = {[](json& m) {
                                              m["b"] = m["a"];
                                              m.erase("a");
                                          },
                                          [](json& m) { m["c"] = m["b"].get<int>() + 1; }};
    migrate(old, "m", 1, steps);
    CHECK(old == json{{"schema_version", 3}, {"b", 1}, {"c", 2}});
    json newer = {{"schema_version", 2}, {"b", 5}};
    migrate(newer, "m", 1, steps);
    CHECK(newer == json{{"schema_version", 3}, {"b", 5}, {"c", 6}});
}

TEST_CASE("two writers: the second is told who holds the session") {
    Saved saved;
    const std::string pid = "process " + std::to_string(::getpid());
    {
        const SessionLock lock(saved.path);
        check_says([&] { save_session(saved.path, saved.story.contents); },
                   {"a.savepoint: is open in " + pid, "another name"});
        check_says([&] { const SessionLock second(saved.path); }, {pid});
        CHECK(save_session(saved.path, saved.story.contents, {.held = &lock}).blobs_total == 6);
        CHECK(save_session(saved.path + "/", saved.story.contents, {.held = &lock}).blobs_total == 6);
        CHECK_FALSE(lock.holds(saved.folder.path("b.savepoint")));
        CHECK(inspect_session(saved.path, true).problems.empty());
        CHECK(toy::difference(saved.story.contents, open_session(saved.path)) == "");
    }
    CHECK(save_session(saved.path, saved.story.contents).blobs_total == 6);
}

TEST_CASE("a lock to open makes no folder, and the version of a session changes with what is saved") {
    Saved saved;
    const std::string none = saved.folder.path("none.savepoint");
    CHECK(problem_of([&] { const SessionLock lock(none, false); }).find("none.savepoint") != std::string::npos);
    CHECK_FALSE(fs::exists(none));
    CHECK(session_version(none).empty());
    const std::string version = session_version(saved.path);
    CHECK(version.size() == 64);
    CHECK(session_version(saved.path) == version);
    saved.story.contents.selected = {saved.story.edited, 46};
    save_session(saved.path, saved.story.contents);
    CHECK(session_version(saved.path) != version);
}

TEST_CASE("the selected token is kept; sessions from before have none") {
    Saved saved;
    CHECK_FALSE(read_manifest(saved.path).contains("selected"));
    CHECK(open_session(saved.path).selected == TokenRef{});
    saved.story.contents.selected = {saved.story.edited, 46};
    save_session(saved.path, saved.story.contents);
    CHECK(open_session(saved.path).selected == TokenRef{saved.story.edited, 46});
    const json good = read_manifest(saved.path);
    const auto refuse = [&](const json& selected, const std::string& word) {
        json bad = good;
        bad["selected"] = selected;
        write_manifest(saved.path, bad);
        check_says([&] { open_session(saved.path); }, {"manifest.json: ", word});
    };
    refuse({{"thought", 999}, {"position", 0}}, "selected.thought");
    refuse({{"thought", 0}, {"position", 0}}, "selected.thought");
    refuse({{"thought", 1}, {"position", 64}}, "selected.position");
    refuse({{"thought", 1}, {"position", -1}}, "selected.position");
    refuse({{"thought", 1}}, "selected.position");
    refuse(7, "selected");
}

TEST_CASE("the lock of a process that was killed does not block") {
    Saved saved;
    int ready[2];
    REQUIRE(::pipe(ready) == 0);
    const pid_t child = ::fork();
    if (child == 0) {  // nothing but system calls here: other threads do not exist in the child
        const int fd = ::open((saved.path + "/lock").c_str(), O_RDWR);
        const char ok = ::flock(fd, LOCK_EX | LOCK_NB) == 0 ? 'y' : 'n';
        if (::write(ready[1], &ok, 1) != 1) ::_exit(1);
        for (;;) ::pause();
    }
    char answer = 0;
    REQUIRE(::read(ready[0], &answer, 1) == 1);
    CHECK(answer == 'y');
    CHECK(problem_of([&] { save_session(saved.path, saved.story.contents); }).find("is open in process") !=
          std::string::npos);
    ::kill(child, SIGKILL);
    ::waitpid(child, nullptr, 0);
    CHECK(problem_of([&] { save_session(saved.path, saved.story.contents); }) == "");
    ::close(ready[0]);
    ::close(ready[1]);
}

TEST_CASE("a folder that holds something else is left alone") {
    const toy::Folder folder;
    const toy::Story story = toy::make_story();
    fs::create_directory(folder.path("mine"));
    std::ofstream(folder.path("mine/thesis.txt")) << "x";
    check_says([&] { save_session(folder.path("mine"), story.contents); },
               {"mine: holds thesis.txt", "another folder"});
    CHECK_FALSE(fs::exists(folder.path("mine/blobs")));
    check_says([&] { save_session(folder.path("mine/thesis.txt"), story.contents); }, {"thesis.txt"});
    check_says([&] { open_session(folder.path("mine")); }, {"has no manifest.json"});
    check_says([&] { open_session(folder.path("none")); }, {"has no manifest.json"});
    save_session(folder.path("new/deep/a.savepoint/"), story.contents);
    CHECK(toy::difference(story.contents, open_session(folder.path("new/deep/a.savepoint"))) == "");
}

TEST_CASE("a manifest that contradicts itself names the field") {
    const Saved saved;
    const json good = read_manifest(saved.path);
    const auto refuse = [&](const std::string& pointer, const json& value, const std::string& word) {
        json bad = good;
        bad[json::json_pointer(pointer)] = value;
        write_manifest(saved.path, bad);
        check_says([&] { open_session(saved.path); }, {"manifest.json: ", word});
        CHECK_FALSE(inspect_session(saved.path, true).problems.empty());
    };
    refuse("/thoughts/1/parent", 9, "thoughts[1].parent is 9");
    refuse("/thoughts/2/parent", 0, "prefix is longer");
    refuse("/thoughts/0/edge", "continuation", "only a root");
    refuse("/thoughts/1/parent", 2, "thoughts[1].parent is 2");
    refuse("/thoughts/1/id", 1, "parent");
    refuse("/thoughts/0/id", 7, "not ascending");
    refuse("/thoughts/1/prefix", 65, "prefix");
    refuse("/thoughts/1/prefix", -1, "thoughts[1].prefix is -1");
    refuse("/thoughts/1/prefix", 1.5, "thoughts[1].prefix is not an integer");
    refuse("/thoughts/1/edge", "kontinuation", "thoughts[1].edge");
    refuse("/thoughts/0/tokens", 65, "segments do not add up");
    refuse("/thoughts/0/prompt_tokens", 65, "prompt_tokens");
    refuse("/thoughts/0/segments/0/count", 257, "thoughts[0].segments[0].count is 257");
    refuse("/thoughts/0/segments/0/first", 1, "segments[0].first");
    refuse("/thoughts/0/segments/0/blob", "../../etc/passwd", "not a SHA-256");
    refuse("/thoughts/2/edits/0/position", 44, "thoughts[2].edits[0].position is 44");
    refuse("/thoughts/2/edits/0/hidden_block", 3, "edits[0].hidden_block is 3");
    refuse("/thoughts/2/edits/0/kv_blocks", json{0, 0}, "edits[0].kv_blocks");
    refuse("/thoughts/0/sampler/seed", -1, "sampler.seed");
    refuse("/thoughts/0/sampler/temperature", 1e300, "sampler.temperature");
    refuse("/thoughts/0/shape/threads", "two", "shape.threads");
    refuse("/model/config/layers", 0, "model.config.layers");
    refuse("/model/config/context", 30, "context");
    refuse("/current", 77, "current");
    refuse("/next_id", 2, "next_id");
    refuse("/thoughts", json::object(), "thoughts is not an array");
    for (const std::string field :
         {"application", "model", "tokenizer_hash", "current", "thoughts", "view", "saved_at", "schema_version"}) {
        json bad = good;
        bad.erase(field);
        write_manifest(saved.path, bad);
        check_says([&] { open_session(saved.path); }, {field + " is missing"});
    }
    write_manifest(saved.path, good);
    CHECK(toy::difference(saved.story.contents, open_session(saved.path)) == "");
}

TEST_CASE("a config of other sizes does not fit the blobs") {
    const Saved saved;
    json manifest = read_manifest(saved.path);
    manifest["model"]["config"]["kv_heads"] = 4;
    write_manifest(saved.path, manifest);
    check_says([&] { open_session(saved.path); }, {"key does not have the shape"});
    manifest["model"]["config"]["kv_heads"] = 65536;
    manifest["model"]["config"]["head_dim"] = 65536;
    manifest["model"]["config"]["layers"] = 4096;
    write_manifest(saved.path, manifest);
    check_says([&] { open_session(saved.path); }, {"more than this machine has memory"});
}

TEST_CASE("rows that are not finite are left out when saving and refused when opening") {
    toy::Story story = toy::make_story();
    const toy::Folder folder;
    const std::string path = folder.path("a.savepoint");
    story.contents.graph.edit(story.first).rows.value[3][0][0][0] = INFINITY;
    const SaveReport report = save_session(path, story.contents);
    CHECK(report.thoughts_without_rows == 1);
    const SessionContents opened = open_session(path);
    CHECK_FALSE(opened.graph.at(story.first).rows.has_kv());
    CHECK(opened.graph.at(story.first).rows.last.defined());

    json manifest = read_manifest(path);
    json& blob = manifest["thoughts"][1]["segments"][0]["blob"];
    TensorFile file = read_safetensors(path + "/blobs/" + blob.get<std::string>() + ".safetensors");
    file.tensors["key"][0][0][0][0] = NAN;
    blob = sha256_hex(to_safetensors(file));
    write_safetensors(path + "/blobs/" + blob.get<std::string>() + ".safetensors", file);
    write_manifest(path, manifest);
    check_says([&] { open_session(path); }, {"the tensor key holds NaN"});
}

TEST_CASE("numbers that JSON does not know, and text that is not UTF-8, do not stop saving") {
    toy::Story story = toy::make_story();
    const toy::Folder folder;
    Thought& thought = story.contents.graph.edit(story.first);
    thought.reward = NAN;
    thought.label = "half \xe4 character";
    thought.provenance = {{"value", INFINITY}};
    save_session(folder.path("a"), story.contents);
    const SessionContents opened = open_session(folder.path("a"));
    CHECK(std::isnan(opened.graph.at(story.first).reward));
    CHECK(opened.graph.at(story.first).label == "half \xef\xbf\xbd character");
    CHECK(opened.graph.at(story.first).provenance["value"].is_null());
}

TEST_CASE("contents that do not fit their own config are not written") {
    toy::Story story = toy::make_story();
    const toy::Folder folder;
    story.contents.identity.model_config["d_model"] = 65;
    CHECK_THROWS_AS(save_session(folder.path("a"), story.contents), InputError);
    CHECK_FALSE(fs::exists(folder.path("a")));
}

TEST_CASE("a summary counts what is there") {
    const Saved saved;
    const json facts = inspect_session(saved.path, false).facts;
    CHECK(facts["thoughts"] == 5);
    CHECK(facts["tokens"] == 64 + 21 + 21 + 300);
    CHECK(facts["blobs"] == 6);
    CHECK(facts["bytes_by_kind"]["key"] == (64 + 21 + 21 + 300) * 3 * 2 * 16 * 4);
    CHECK(facts["unreferenced_files"] == 0);
    CHECK(facts["model"]["name"] == "toy");
    CHECK(inspect_session(saved.folder.path("none"), true).problems.size() == 1);
}

TEST_CASE("Python reads a session with safetensors, json and numpy") {
    const char* python = std::getenv("SAVEPOINT_TEST_PYTHON");
    if (!python || std::system((std::string(python) + " -c 'import numpy, safetensors' 2>/dev/null").c_str()) != 0) {
        MESSAGE("skipped: SAVEPOINT_TEST_PYTHON names no Python with numpy and safetensors");
        return;
    }
    const Saved saved;
    const std::string script = std::string(SAVEPOINT_SOURCE_DIR) + "/sessions/read_session.py",
                      out = saved.folder.path("out.json");
    REQUIRE(std::system((std::string(python) + " " + script + " --json " + saved.path + " > " + out).c_str()) == 0);
    const json read = json::parse(read_file(out));
    const ThoughtGraph& graph = saved.story.contents.graph;
    REQUIRE(read["thoughts"].size() == graph.thoughts().size());
    for (const json& thought : read["thoughts"]) {
        const Thought& expected = graph.at(thought["id"]);
        CHECK(thought["tokens"] == expected.tokens);
        CHECK(thought["path"] == graph.path_tokens(expected.id));
        if (expected.tokens.empty() || expected.stats.empty()) continue;
        CHECK(thought["scalars"]["entropy"].back().get<float>() == expected.stats.back().entropy);
        CHECK(thought["shapes"]["key"] == expected.rows.key.sizes().vec());
    }
    CHECK(read["thoughts"][2]["edits"][0]["shapes"]["hidden"] == json{64});
    CHECK(std::system((std::string(python) + " " + script + " " + saved.path + " > " + out).c_str()) == 0);
    const fs::path blob = blobs(saved.path).front();
    fs::resize_file(blob, fs::file_size(blob) - 4);
    CHECK(std::system((std::string(python) + " " + script + " " + saved.path + " > " + out + " 2>&1").c_str()) != 0);
    CHECK(read_file(out).find("is damaged") != std::string::npos);
}

TEST_CASE("version 1, as it was first written, opens") {
    const SessionContents opened = open_session(std::string(SAVEPOINT_SOURCE_DIR) + "/tests/data/session_v1");
    CHECK(opened.graph.thoughts().size() == 3);
    CHECK(opened.graph.path_tokens(3) == std::vector<TokenId>{1, 2, 3, 4, 7});
    CHECK(opened.graph.at(3).edits.front().position == 4);
    CHECK(opened.graph.at(2).sampler.seed == 18446744073709551615ull);
    CHECK(opened.graph.path_rows(3, 0, 5).key.sum().item<float>() == doctest::Approx(60));
    CHECK(opened.identity.model_name == "fixture");
}

TEST_CASE("version 2, with a thought that is kept as z, opens as it was first written") {
    const SessionContents opened = open_session(std::string(SAVEPOINT_SOURCE_DIR) + "/tests/data/session_v2");
    CHECK(opened.graph.thoughts().size() == 4);
    const Thought& kept = opened.graph.at(4);
    CHECK(kept.edge == EdgeKind::decoded);
    REQUIRE(kept.latent);
    CHECK(kept.latent->bytes == std::string("z\0\xff", 3));
    CHECK(kept.latent->codec == "quantized int4 g32");
    CHECK(kept.latent->codec_digest == std::string(64, 'd'));
    CHECK(kept.latent->exact_first == 4);
    CHECK(awaits_decoding(kept));
}

// Writes the fixture of the current version, once, when kSessionSchema has changed:
//   SAVEPOINT_FIXTURE=tests/data/session_vN core_tests -tc="make the fixture" --no-skip
TEST_CASE("make the fixture" * doctest::skip()) {
    const char* folder = std::getenv("SAVEPOINT_FIXTURE");
    if (!folder) return;
    SessionContents contents;
    ModelConfig config;
    config.architecture = "llama";
    config.layers = 2, config.d_model = 8, config.d_ff = 16, config.heads = 4, config.kv_heads = 1, config.head_dim = 2,
    config.vocab = 16, config.context = 64;
    contents.identity = {"fixture", std::string(64, '1'), std::string(64, '2'), "", {}};
    contents.identity.model_config = config;
    const auto rows = [](int64_t tokens, float value) {
        return StateRows{
            {}, at::full({tokens, 2, 1, 2}, value), at::full({tokens, 2, 1, 2}, -value), at::full({tokens, 8}, value)};
    };
    Thought root;
    root.tokens = {1, 2, 3, 4, 5};
    root.prompt_tokens = 3;
    root.rows = rows(5, 2);
    root.shape = {3, 2, 1, "cpu", "float32"};
    root.stats.assign(5, {-1.5f, 2.5f, {{7, 0.5f}, {8, 0.25f}}, 50.0f, NAN});
    contents.graph.add(root);
    Thought branch;
    branch.parent = 1;
    branch.prefix = 4;
    branch.edge = EdgeKind::continuation;
    branch.sampler.seed = ~uint64_t{0};
    branch.label = "a branch";
    contents.graph.add(branch);
    Thought edited = branch;
    edited.edge = EdgeKind::intervention;
    edited.tokens = {7};
    edited.rows = rows(1, 7);
    edited.edits = {{4, 1, at::ones({8}), {{0, at::ones({1, 2}), at::ones({1, 2})}}}};
    edited.provenance = {{"group", 0}, {"component", 3}, {"value", 2.0}};
    contents.graph.add(edited);
    Thought kept;
    kept.edge = EdgeKind::decoded;
    kept.tokens = {1, 2, 3, 4, 5, 6};
    kept.shape = {4, 128, 1, "cpu", "float32"};
    kept.latent = std::make_shared<const StoredLatent>(
        StoredLatent{std::string("z\0\xff", 3), "quantized int4 g32", std::string(64, 'd'), 4});
    contents.graph.add(kept);
    contents.current = 3;
    contents.view = {{"zoom", 1}};
    save_session(folder, contents);
}
