// Sessions between two workbenches: who may write, and what is selected when one is opened.

#include <fstream>
#include <nlohmann/json.hpp>

#include "core/state/safetensors.h"
#include "workbench_fixture.h"

using namespace savepoint;
using namespace savepoint::test;

namespace {

nlohmann::json manifest_of(const std::string& session) {
    return nlohmann::json::parse(read_file(session + "/manifest.json"));
}

void write_manifest(const std::string& session, const nlohmann::json& manifest) {
    std::ofstream(session + "/manifest.json") << manifest.dump();
}

bool warned(const Snapshot& snapshot, const std::vector<std::string>& words) {
    return std::any_of(snapshot.log->begin(), snapshot.log->end(), [&](const LogLine& line) {
        return line.level == LogLine::Level::warning && std::all_of(words.begin(), words.end(), [&](const auto& word) {
                   return line.text.find(word) != std::string::npos;
               });
    });
}

void saves(Bench& bench, const std::string& session) {
    const auto shown = bench.after(command::SaveSession{session, ""});
    REQUIRE_MESSAGE(shown->errors.empty(), errors_of(*shown));
    CHECK(shown->session.folder == session);
    CHECK_FALSE(shown->session.read_only);
}

void is_refused(Bench& bench, const std::string& session, const std::vector<std::string>& words) {
    const auto shown = bench.after(command::SaveSession{session, ""});
    REQUIRE(shown->errors.size() == 1);
    for (const std::string& word : words)
        CHECK_MESSAGE(shown->errors[0].message.find(word) != std::string::npos, shown->errors[0].message);
    CHECK(shown->session.modified);
    bench.after(command::DismissError{shown->errors[0].id});
}

std::string own_process() { return "process " + std::to_string(::getpid()); }

}  // namespace

TEST_CASE("a session without exact keys and values is small, and goes on as the whole one does") {
    const TemporaryFolder folder("small");
    Bench& bench = Bench::shared(false);
    const ThoughtId id = bench.after(raw("The keeper of the lighthouse wrote down", greedy(16)))->current;
    const auto goes_on = [&](const std::string& session) {
        bench.after(command::NewSession{}, true);
        bench.after(command::OpenSession{session});
        return ids_of(*bench.after(command::Continue{id, greedy(8)}));
    };
    const auto bytes = [](const std::string& session) {
        uintmax_t sum = 0;
        for (const auto& entry : std::filesystem::recursive_directory_iterator(session))
            if (entry.is_regular_file()) sum += entry.file_size();
        return sum;
    };
    const std::string whole = folder.file("whole.savepoint"), small = folder.file("small.savepoint");
    saves(bench, whole);
    bench.after(command::SaveSession{small, "", false});
    CHECK(errors_of(*bench.now()) == "");
    CHECK(bytes(small) < 16384);
    CHECK(bytes(whole) > 100 * bytes(small));
    CHECK(goes_on(small) == goes_on(whole));
}

TEST_CASE("the selected token comes back with the session; older sessions select the last one") {
    const TemporaryFolder folder("selection");
    const std::string session = folder.file("a.savepoint");
    Bench& bench = Bench::shared(false);
    auto shown = bench.after(raw("The sky is", greedy(6)));
    const int64_t length = static_cast<int64_t>(shown->path->tokens.size());
    const TokenRef token{shown->current, 4};
    bench.after(command::Select{token});
    saves(bench, session);
    nlohmann::json manifest = manifest_of(session);
    CHECK(manifest["selected"] == nlohmann::json{{"thought", token.thought}, {"position", 4}});
    bench.after(command::NewSession{});
    CHECK(bench.now()->selected == TokenRef{});
    CHECK(bench.after(command::OpenSession{session})->selected == token);
    bench.after(command::NewSession{});

    SUBCASE("from before it was stored: in the view") {
        manifest.erase("selected");
        manifest["view"]["selected"] = {{"thought", token.thought}, {"position", 2}};
        write_manifest(session, manifest);
        CHECK(bench.after(command::OpenSession{session})->selected == TokenRef{token.thought, 2});
    }
    SUBCASE("from before it was stored: nowhere") {
        manifest.erase("selected");
        write_manifest(session, manifest);
        CHECK(bench.after(command::OpenSession{session})->selected == TokenRef{token.thought, length - 1});
    }
    SUBCASE("a token that is not there is refused by name") {
        manifest["selected"]["position"] = length;
        write_manifest(session, manifest);
        shown = bench.after(command::OpenSession{session});
        REQUIRE(shown->errors.size() == 1);
        CHECK(shown->errors[0].message.find("selected.position") != std::string::npos);
        bench.after(command::DismissError{shown->errors[0].id});
    }
}

TEST_CASE("a path that is shown has a selected token, and its latent") {
    Bench& bench = Bench::shared();
    auto shown = bench.after(raw("The opposite of hot is", greedy(10)), true);
    const ThoughtId first = shown->current;
    const int64_t length = static_cast<int64_t>(shown->path->tokens.size()), at = length - 5;
    const auto looks_at = [&](const TokenRef& token) {
        CHECK(shown->selected == token);
        REQUIRE(shown->latent);
        CHECK(shown->latent->token == token);
    };
    shown = bench.after(command::SetCurrent{first}, true);
    looks_at({first, length - 1});

    // The edited token of the new branch, not the one that was edited.
    bench.after(command::Select{{first, at}});
    shown = bench.after(command::ResumeEdit{{first, at}, {set_component(at, 2, 0, 6)}, greedy(2)}, true);
    const ThoughtId branch = shown->current;
    REQUIRE(branch != first);
    looks_at({branch, at});
    CHECK(shown->path->tokens[static_cast<size_t>(at)]->edited);
    CHECK(shown->preview == nullptr);

    // The same place of the path that it leaves, and back.
    shown = bench.after(command::SetCurrent{first}, true);
    looks_at({first, at});
    shown = bench.after(command::SetCurrent{branch}, true);
    looks_at({branch, at});
    // A token that both paths have stays selected.
    bench.after(command::Select{{first, 1}}, true);
    shown = bench.after(command::SetCurrent{first}, true);
    looks_at({first, 1});
    shown = bench.after(command::RewindHere{{branch, at - 1}}, true);
    CHECK(shown->current == first);
    looks_at({first, at - 1});

    // A changed token is looked at; a new root that takes its place shows its last token.
    shown = bench.after(command::ReplaceToken{{first, at}, 260, greedy(1)}, true);
    const ThoughtId changed = shown->current;
    looks_at({changed, at});
    shown = bench.after(raw("Hello", greedy(2)), true);
    looks_at({shown->current, static_cast<int64_t>(shown->path->tokens.size()) - 1});
    shown = bench.after(command::RemoveThought{shown->current}, true);
    CHECK(shown->selected == TokenRef{});
    CHECK(shown->latent == nullptr);
    bench.after(command::SetCurrent{changed}, true);
    shown = bench.after(command::RemoveThought{changed}, true);
    looks_at({first, length - 1});
}

TEST_CASE("reopened without hidden states, the latent of the selected token comes back") {
    const TemporaryFolder folder("reopened");
    const std::string session = folder.file("a.savepoint");
    Bench& bench = Bench::shared();
    auto shown = bench.after(raw("The opposite of hot is", greedy(10)), true);
    const TokenRef token{shown->current, 6};
    const auto latent = bench.after(command::Select{token}, true)->latent;
    REQUIRE(latent);
    saves(bench, session);
    bench.after(raw("Hello", greedy(2)), true);
    shown = bench.after(command::OpenSession{session}, true);
    REQUIRE_MESSAGE(shown->errors.empty(), errors_of(*shown));
    CHECK(shown->selected == token);
    REQUIRE(shown->latent);
    CHECK(shown->latent->hidden == latent->hidden);
    CHECK(shown->latent->key == latent->key);
}

TEST_CASE("explained variance of keys and values is shown by block, descending") {
    const auto shown = Bench::shared().now();
    const SidecarView& sidecar = *shown->sidecar;
    for (const auto* explained : {&sidecar.key_explained, &sidecar.value_explained}) {
        REQUIRE(explained->size() == static_cast<size_t>(shown->model->layers));
        for (const std::vector<float>& block : *explained) {
            REQUIRE(static_cast<int64_t>(block.size()) == sidecar.key_components);
            CHECK(std::is_sorted(block.rbegin(), block.rend()));
            double sum = 0;
            for (const float part : block) sum += part;
            CHECK(block.back() >= 0);
            CHECK(sum > 0.5);
            CHECK(sum < 1.001);
        }
    }
}

TEST_CASE("previews are no jobs") {
    Bench& bench = Bench::shared();
    auto shown = bench.after(raw("The sky is", greedy(4)), true);
    const TokenRef token{shown->current, 4};
    const size_t jobs = bench.after(command::Select{token}, true)->jobs->size();
    for (int i = 0; i < 5; ++i) {
        shown = bench.after(command::PreviewEdit{token, {set_component(4, 2, 0, i)}});
        REQUIRE(shown->preview);
        CHECK(shown->preview->edits[0].amount == i);
    }
    CHECK(shown->jobs->size() == jobs);
    bench.after(command::CancelJob{0});  // no job has this number
    shown = bench.after(command::PreviewEdit{{token.thought, 400}, {set_component(400, 2, 0, 1)}});
    REQUIRE(shown->errors.size() == 1);  // that one failed is still said
}

TEST_CASE("two workbenches, one session: the second one only looks") {
    const TemporaryFolder folder("two");
    const std::string session = folder.file("a.savepoint"), copy = folder.file("b.savepoint");
    const auto owner = Bench::ready(options_without_sidecar());
    const auto guest = Bench::ready(options_without_sidecar());
    owner->after(raw("The sky is", greedy(4)));
    saves(*owner, session);

    auto shown = guest->after(command::OpenSession{session});
    REQUIRE_MESSAGE(shown->errors.empty(), errors_of(*shown));
    CHECK(shown->session.read_only);
    CHECK(warned(*shown, {session, own_process(), "read-only", "another name"}));
    CHECK(ids_of(*shown) == ids_of(*owner->now()));
    guest->after(command::Continue{1, greedy(2)});

    SUBCASE("and may save under another name") {
        is_refused(*guest, session, {"is open in " + own_process(), "save under another name"});
        is_refused(*guest, session + "/", {"is open in " + own_process()});
        saves(*owner, session);
        CHECK(manifest_of(session)["thoughts"].size() == 1);
        saves(*guest, copy);
        CHECK(manifest_of(copy)["thoughts"].size() == 2);
        CHECK_FALSE(owner->after(command::OpenSession{session})->session.read_only);  // its own
        CHECK(owner->after(command::OpenSession{copy})->session.read_only);
    }
    SUBCASE("a new session, or another one, lets go of it") {
        owner->after(command::NewSession{});
        saves(*guest, session);
        CHECK(manifest_of(session)["thoughts"].size() == 2);
        CHECK(owner->after(command::OpenSession{session})->session.read_only);
    }
    SUBCASE("what the owner saved meanwhile is not undone") {
        owner->after(command::Rename{1, "mine"});
        saves(*owner, session);
        owner->after(command::NewSession{});
        is_refused(*guest, session, {"was changed by another process", "save under another name"});
        CHECK(manifest_of(session)["thoughts"][0]["label"] == "mine");
        saves(*guest, copy);
        CHECK_FALSE(guest->after(command::OpenSession{session})->session.read_only);
    }
    SUBCASE("saving under another name lets go of the first") {
        saves(*owner, copy);
        CHECK_FALSE(guest->after(command::OpenSession{session})->session.read_only);
    }
    SUBCASE("one that fails to open changes nothing") {
        is_refused(*owner, "/proc/nowhere.savepoint", {"/proc/nowhere.savepoint"});
        CHECK(owner->after(command::OpenSession{folder.file("none.savepoint")})->errors.size() == 1);
        CHECK_FALSE(std::filesystem::exists(folder.file("none.savepoint")));
        is_refused(*guest, session, {"is open in"});
    }
}

TEST_CASE("a workbench that ended, or died, holds no session") {
    const TemporaryFolder folder("ended");
    const std::string session = folder.file("a.savepoint");
    {
        const auto first = Bench::ready(options_without_sidecar());
        first->after(raw("The sky is", greedy(2)));
        saves(*first, session);
    }
    // What a killed process leaves behind: its number in the file, and no lock.
    std::ofstream(session + "/lock") << "1";
    Bench& bench = Bench::shared(false);
    CHECK_FALSE(bench.after(command::OpenSession{session})->session.read_only);
    CHECK(read_file(session + "/lock") == std::to_string(::getpid()));
    saves(bench, session);
    bench.after(command::NewSession{});
}
