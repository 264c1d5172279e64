// The memory budget: what is not shown is dropped, hidden states first, and comes back bit for bit.

#include "core/state/safetensors.h"
#include "workbench_fixture.h"

using namespace savepoint;
using namespace savepoint::test;

namespace {

int64_t bytes_of(const Snapshot& snapshot, ThoughtId id) { return thought(snapshot, id)->bytes; }

bool holds(const Snapshot& snapshot, ThoughtId id, bool hidden, bool kv) {
    const ThoughtView* view = thought(snapshot, id);
    return view->has_hidden == hidden && view->has_kv == kv;
}

int64_t lines_with(const Snapshot& snapshot, const std::string& words) {
    return std::count_if(snapshot.log->begin(), snapshot.log->end(),
                         [&](const LogLine& line) { return line.text.find(words) != std::string::npos; });
}

// Every number that the codec makes of every row of the shown path.
std::string latents_of(Bench& bench, const TemporaryFolder& folder) {
    const std::string file = folder.file("latents.safetensors");
    const auto shown = bench.after(command::Export{"latents.safetensors", file});
    REQUIRE_MESSAGE(shown->errors.empty(), errors_of(*shown));
    return read_file(file);
}

// Bytes in which two files of one length differ.
size_t differing(const std::string& a, const std::string& b) {
    REQUIRE(a.size() == b.size());
    size_t count = 0;
    for (size_t i = 0; i < a.size(); ++i) count += a[i] != b[i];
    return count;
}

struct Story {
    ThoughtId first = 0, branch = 0, other = 0;  // a root, an intervention on it, and another root that is shown
    std::string first_latents, branch_latents;
};

Story tell(Bench& bench, const TemporaryFolder& folder) {
    Story story;
    auto shown = bench.after(raw("The opposite of hot is", seeded(24, 7)), true);
    story.first = shown->current;
    story.first_latents = latents_of(bench, folder);
    const int64_t at = static_cast<int64_t>(shown->path->tokens.size()) - 12;
    shown = bench.after(command::ResumeEdit{{story.first, at}, {set_component(at, 2, 0, 4)}, seeded(20, 7)}, true);
    REQUIRE_MESSAGE(shown->errors.empty(), errors_of(*shown));
    story.branch = shown->current;
    story.branch_latents = latents_of(bench, folder);
    shown = bench.after(raw("Once upon a time", seeded(16, 7)), true);
    story.other = shown->current;
    bench.after(command::Select{{story.other, 3}}, true);
    return story;
}

}  // namespace

TEST_CASE("the budget is half of the memory unless it is set, and none when it is 0") {
    Bench standard(options_without_sidecar());
    standard.finish_commands();
    CHECK(standard.now()->status.memory_budget > int64_t{1} << 26);
    WorkbenchOptions options = options_without_sidecar();
    options.memory_budget = 12345;
    Bench bench(options);
    CHECK(bench.after(command::DismissError{0})->status.memory_budget == 12345);
    CHECK(bench.after(command::SetMemoryBudget{0})->status.memory_budget == 0);
    const auto refused = bench.after(command::SetMemoryBudget{-1});
    REQUIRE(refused->errors.size() == 1);
    CHECK(refused->errors[0].message.find("0 means no limit") != std::string::npos);
    CHECK(refused->status.memory_budget == 0);
}

TEST_CASE("what is not shown is dropped, hidden states first, and comes back bit for bit") {
    const TemporaryFolder folder("memory");
    Bench& bench = Bench::shared();
    bench.after(command::SetMemoryBudget{0});
    const Story story = tell(bench, folder);
    auto shown = bench.now();
    const int64_t all = shown->status.rows_bytes, shown_bytes = bytes_of(*shown, story.other);
    CHECK(all == shown->graph->bytes);
    CHECK(all > shown_bytes);
    REQUIRE(holds(*shown, story.first, true, true));

    SUBCASE("hidden states of the least recently shown thought go first") {
        shown = bench.after(command::SetMemoryBudget{all - 1000}, true);
        CHECK(holds(*shown, story.first, false, true));
        CHECK(holds(*shown, story.branch, true, true));
        CHECK(holds(*shown, story.other, true, true));
        CHECK(shown->status.rows_bytes <= all - 1000);
        CHECK(shown->status.rows_bytes == shown->graph->bytes);
        CHECK(lines_with(*shown, "dropped the hidden states of 1 thought") >= 1);
    }

    SUBCASE("keys and values follow; edits stay, and all of it comes back") {
        const int64_t budget = shown_bytes + (all - shown_bytes) / 10;
        shown = bench.after(command::SetMemoryBudget{budget}, true);
        CHECK(holds(*shown, story.first, false, false));
        CHECK(holds(*shown, story.branch, false, false));
        CHECK(holds(*shown, story.other, true, true));
        CHECK(shown->status.rows_bytes <= budget);
        CHECK(bytes_of(*shown, story.branch) > 0);  // the edit and the last rows
        REQUIRE(shown->latent);
        CHECK(shown->latent->token == TokenRef{story.other, 3});

        // No limit from here on, so that what comes back is seen to stay.
        bench.after(command::SetMemoryBudget{0});
        shown = bench.after(command::SetCurrent{story.branch}, true);
        CHECK(holds(*shown, story.first, true, true));
        CHECK(holds(*shown, story.branch, true, true));
        REQUIRE(shown->latent);
        CHECK(shown->latent->token == shown->selected);
        CHECK(latents_of(bench, folder) == story.branch_latents);
        bench.after(command::SetCurrent{story.first}, true);
        CHECK(latents_of(bench, folder) == story.first_latents);
    }

    SUBCASE("a path that is shown again pushes out the one that was shown before") {
        const int64_t budget = all - shown_bytes + 100000;  // what stays of the other one is less
        shown = bench.after(command::SetMemoryBudget{budget}, true);
        CHECK(holds(*shown, story.other, true, true));
        shown = bench.after(command::SetCurrent{story.branch}, true);
        CHECK(holds(*shown, story.branch, true, true));
        CHECK(holds(*shown, story.first, true, true));
        CHECK_FALSE(thought(*shown, story.other)->has_hidden);
        CHECK(shown->status.rows_bytes <= budget);
        CHECK(latents_of(bench, folder) == story.branch_latents);
    }

    SUBCASE("what is shown is never dropped: a budget below it is warned of once") {
        const int64_t before = lines_with(*shown, "above the budget");
        shown = bench.after(command::SetMemoryBudget{1}, true);
        CHECK(holds(*shown, story.other, true, true));
        shown = bench.after(command::Select{{story.other, 2}}, true);
        CHECK(lines_with(*shown, "above the budget") == before + 1);
        CHECK(shown->errors.empty());
    }
    bench.after(command::SetMemoryBudget{0});
}

TEST_CASE("going on from dropped states equals the run that kept them, bit for bit") {
    const auto run = [](Bench& bench, int64_t budget) {
        bench.after(command::NewSession{}, true);
        bench.after(command::SetMemoryBudget{budget});
        const auto first = bench.after(raw("My favourite animal", seeded(20, 3)));
        const ThoughtId id = first->current;
        bench.after(command::ReplaceToken{{id, 12}, 260, seeded(6, 3)});
        const ThoughtId changed = bench.now()->current;
        bench.after(raw("Once upon a time", seeded(8, 3)), true);
        CHECK(thought(*bench.now(), changed)->has_kv == (budget == 0));
        return bench.after(command::Continue{changed, seeded(12, 3)}, true);
    };
    Bench& bench = Bench::shared(false);
    const auto kept = run(bench, 0);
    const auto dropped = run(bench, 1);
    bench.after(command::SetMemoryBudget{0});
    REQUIRE(kept->errors.empty());
    REQUIRE_MESSAGE(dropped->errors.empty(), errors_of(*dropped));
    REQUIRE(ids_of(*kept) == ids_of(*dropped));
    for (size_t i = 0; i < kept->path->tokens.size(); ++i) {
        CHECK(kept->path->tokens[i]->entropy == dropped->path->tokens[i]->entropy);
        if (i > 0) CHECK(kept->path->tokens[i]->log_probability == dropped->path->tokens[i]->log_probability);
    }
}

TEST_CASE("states that come back have the bits they had, on whatever number of threads they were made") {
    const TemporaryFolder folder("threads");
    const std::string session = folder.file("a.savepoint");
    WorkbenchOptions options = small_options();
    options.threads = 1;
    std::string latents;
    {
        const auto one = Bench::ready(options);
        one->after(raw("The opposite of hot is", greedy(12)), true);
        latents = latents_of(*one, folder);
        REQUIRE(one->after(command::SaveSession{session, ""})->errors.empty());
    }
    options.threads = 2;
    const auto two = Bench::ready(options);
    CHECK(two->after(command::OpenSession{session}, true)->errors.empty());
    // The states are the same bits. Encoding them is a product on two threads now, whose last bit may carry a component
    // over the boundary of its cell: of 130,000 numbers one or two.
    CHECK(differing(latents_of(*two, folder), latents) <= 8);
    two->after(command::NewSession{});
    two->after(raw("The opposite of hot is", greedy(12)), true);
    CHECK(two->now()->status.threads == 2);
}
