#include <ctime>

#include "workbench_fixture.h"

using namespace savepoint;
using namespace savepoint::test;

TEST_CASE("commands sent while the model loads wait for it, in order") {
    Bench bench(options_without_sidecar());
    bench.send(command::LoadModel{model_path()});
    bench.send(raw("Once upon a time", greedy(3)));
    bench.send(command::Rename{1, "tale"});
    bench.finish_commands();
    const auto shown = bench.now();
    REQUIRE_MESSAGE(shown->errors.empty(), errors_of(*shown));
    REQUIRE(shown->graph->thoughts.size() == 1);
    CHECK(shown->graph->thoughts[0].label == "tale");
    CHECK(shown->graph->thoughts[0].tokens == shown->graph->thoughts[0].prompt_tokens + 3);
    CHECK(shown->model->default_system_prompt.find("SmolLM") != std::string::npos);
}

TEST_CASE("an idle workbench uses no processor time") {
    Bench& bench = Bench::shared(false);
    bench.after(raw("Hello", greedy(2)), true);
    const std::clock_t before = std::clock();
    std::this_thread::sleep_for(300ms);
    CHECK(static_cast<double>(std::clock() - before) / CLOCKS_PER_SEC < 0.02);
}

TEST_CASE("generation") {
    Bench& bench = Bench::shared(false);

    SUBCASE("the same seed gives the same tokens, another seed others") {
        const auto first = ids_of(*bench.after(raw("The weather today", seeded(12, 5))));
        CHECK(ids_of(*bench.after(raw("The weather today", seeded(12, 5)))) == first);
        CHECK(ids_of(*bench.after(raw("The weather today", seeded(12, 6)))) != first);
    }

    SUBCASE("continuing and branching equal the uninterrupted greedy run, bit for bit") {
        const auto whole = bench.after(raw("The capital of France is", greedy(20)));
        const auto ids = ids_of(*whole);
        const ThoughtId thought = whole->current;
        const int64_t prompt = thought == 0 ? 0 : test::thought(*whole, thought)->prompt_tokens;

        const auto half = bench.after(raw("The capital of France is", greedy(8)));
        const auto continued = bench.after(command::Continue{half->current, greedy(12)});
        CHECK(ids_of(*continued) == ids);
        CHECK(continued->path->tokens.back()->entropy == whole->path->tokens.back()->entropy);

        const auto branch = bench.after(command::BranchHere{{thought, prompt + 4}, greedy(15)});
        CHECK(ids_of(*branch) == ids);
        CHECK(branch->path->tokens.back()->entropy == whole->path->tokens.back()->entropy);
        CHECK(test::thought(*branch, branch->current)->parent == thought);
        CHECK(test::thought(*branch, branch->current)->prefix == prompt + 5);
    }

    SUBCASE("continuing a sampled thought goes on as if it had not stopped; a second branch differs") {
        const auto whole = ids_of(*bench.after(raw("My favourite animal", seeded(16, 3))));
        const auto half = bench.after(raw("My favourite animal", seeded(6, 3)));
        const ThoughtId thought = half->current;
        CHECK(ids_of(*bench.after(command::Continue{thought, seeded(10, 3)})) == whole);
        CHECK(ids_of(*bench.after(command::Continue{thought, seeded(10, 3)})) != whole);
    }

    SUBCASE("a replaced token makes a counterfactual; what was generated after it is generated anew") {
        const auto whole = bench.after(raw("The capital of France is", greedy(10)));
        const auto ids = ids_of(*whole);
        const int64_t prompt = whole->graph->thoughts[0].prompt_tokens;
        const TokenId other = whole->path->tokens[static_cast<size_t>(prompt) + 1]->next[3].id;
        const auto shown = bench.after(command::ReplaceToken{{whole->current, prompt + 2}, other, greedy(4)});
        REQUIRE_MESSAGE(shown->errors.empty(), errors_of(*shown));
        const auto changed = ids_of(*shown);
        CHECK(part(changed, 0, prompt + 2) == part(ids, 0, prompt + 2));
        CHECK(changed[static_cast<size_t>(prompt) + 2] == other);
        CHECK(static_cast<int64_t>(changed.size()) == prompt + 3 + 4);
        CHECK(test::thought(*shown, shown->current)->edge == EdgeKind::counterfactual);
    }

    SUBCASE("a replaced token of the prompt keeps the rest of the prompt") {
        const auto whole = bench.after(raw("The capital of France is", greedy(2)));
        const auto ids = ids_of(*whole);
        const int64_t prompt = whole->graph->thoughts[0].prompt_tokens;
        const auto shown = bench.after(command::ReplaceToken{{whole->current, 3}, ids[1], greedy(2)});
        const auto changed = ids_of(*shown);
        CHECK(part(changed, 4, prompt - 4) == part(ids, 4, prompt - 4));
        CHECK(test::thought(*shown, shown->current)->prompt_tokens == prompt - 3);
        // The first token of all may be replaced as well.
        const auto first = bench.after(command::ReplaceToken{{whole->current, 0}, ids[1], greedy(2)});
        CHECK_MESSAGE(first->errors.empty(), errors_of(*first));
        CHECK(ids_of(*first)[0] == ids[1]);
        CHECK(part(ids_of(*first), 1, prompt - 1) == part(ids, 1, prompt - 1));
    }

    SUBCASE("the next turn of a chat is what the template makes of the whole talk") {
        GenerateSettings settings = greedy(40);
        settings.ignore_end = false;
        const auto first = bench.after(chat("What is two plus two? Answer with one word.", settings));
        const auto before = ids_of(*first);
        REQUIRE(first->path->tokens.back()->special);  // it ended its turn by itself
        const auto second = bench.after(chat("And three plus three?", greedy(2), first->current));
        const auto after = ids_of(*second);
        CHECK(part(after, 0, static_cast<int64_t>(before.size())) == before);
        std::string text;
        for (size_t i = before.size() - 1; i + 2 < after.size(); ++i) text += second->path->tokens[i]->text;
        CHECK(text == "<|im_end|>\n<|im_start|>user\nAnd three plus three?<|im_end|>\n<|im_start|>assistant\n");
    }

    SUBCASE("an answer that was cut off is ended before the next turn") {
        const auto first = bench.after(chat("Tell me a story.", greedy(5)));
        const size_t before = first->path->tokens.size();
        const auto second = bench.after(chat("Stop.", greedy(1), first->current));
        CHECK(second->path->tokens[before]->text == "<|im_end|>");
    }

    SUBCASE("generations queue up, and stopping ends them all within one token") {
        bench.send(raw("One two three", greedy(400)));
        bench.send(raw("Four five six", greedy(400)));
        REQUIRE(bench.wait_for([](const Snapshot& s) { return s.path && s.path->tokens.size() > 8; }));
        const size_t before = bench.now()->path->tokens.size();
        bench.send(command::Stop{});
        bench.finish_commands();
        const auto shown = bench.now();
        CHECK_FALSE(shown->status.generating);
        CHECK(shown->graph->thoughts.size() == 1);
        // One token may have been under way, and one may have come between the look and the command.
        CHECK(shown->path->tokens.size() <= before + 2);
        CHECK_FALSE(shown->path->generating);
        const auto on = bench.after(command::Continue{shown->current, greedy(2)});
        CHECK(on->path->tokens.size() == shown->path->tokens.size() + 2);
    }

    SUBCASE("stopping in the middle of a prompt takes the thought back") {
        const auto kept = bench.after(raw("Hello", greedy(2)));
        std::string text;
        for (int i = 0; i < 1500; ++i) text += "word ";
        bench.send(raw(text, greedy(5)));
        REQUIRE(bench.wait_for([](const Snapshot& s) { return s.path && s.path->tokens.size() >= 128; }));
        bench.send(command::Stop{});
        bench.finish_commands();
        const auto shown = bench.now();
        CHECK(shown->graph->thoughts.size() == 1);
        CHECK(ids_of(*shown) == ids_of(*kept));
        CHECK(shown->jobs->back().state == JobView::State::cancelled);
    }

    SUBCASE("selecting and switching are answered while it generates") {
        const auto first = bench.after(raw("A", greedy(4)));
        bench.send(raw("Numbers: one, two,", greedy(300)));
        REQUIRE(bench.wait_for([](const Snapshot& s) { return s.status.generating && s.path->tokens.size() > 10; }));
        bench.send(command::SetCurrent{first->current});
        bench.send(command::Select{{first->current, 2}});
        REQUIRE(bench.wait_for(
            [&](const Snapshot& s) { return s.current == first->current && s.selected.position == 2; }, 1s));
        CHECK(bench.now()->status.generating);
        CHECK_FALSE(bench.now()->path->generating);
        bench.after(command::Stop{});
    }

    SUBCASE("notes, bookmarks and removal") {
        const auto shown = bench.after(raw("A", greedy(2)));
        bench.after(command::SetNote{shown->current, "look here"});
        const auto noted = bench.after(command::Bookmark{shown->current, true});
        CHECK(noted->graph->thoughts[0].note == "look here");
        CHECK(noted->graph->thoughts[0].bookmarked);
        CHECK(noted->session.modified);
        const auto branch = bench.after(command::Continue{shown->current, greedy(2)});
        const auto rewound = bench.after(command::RewindHere{{branch->current, 0}});
        CHECK(rewound->current == shown->current);
        CHECK(rewound->selected == TokenRef{shown->current, 0});
        const auto removed = bench.after(command::RemoveThought{branch->current});
        CHECK(removed->graph->thoughts.size() == 1);
        const auto none = bench.after(command::RemoveThought{shown->current});
        CHECK(none->graph->thoughts.empty());
        CHECK(none->path == nullptr);
        CHECK(none->current == 0);
    }
}
