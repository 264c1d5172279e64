// The two-minute tour, without a window: load, generate, look inside, edit, resume, save, reopen.

#include "workbench_fixture.h"

using namespace savepoint;
using namespace savepoint::test;

namespace {

struct Tour {
    TokenRef token;
    std::vector<TokenId> original;
    PreviewView preview;
};

void look_at_the_prompt(const Snapshot& shown) {
    REQUIRE(shown.path);
    CHECK(shown.graph->thoughts.size() == 1);
    CHECK(shown.graph->thoughts[0].text == "Name three colours.");
    CHECK(shown.path->tokens.front()->text == "<|im_start|>");
    CHECK(shown.path->tokens.front()->special);
    CHECK(std::isnan(shown.path->tokens.front()->log_probability));
    CHECK(shown.path->tokens.back()->log_probability <= 0);
    CHECK(shown.path->tokens.back()->next.size() == 10);
    CHECK_FALSE(shown.path->tokens.back()->prompt);
}

void look_at_the_analyses(const Snapshot& shown) {
    const auto tokens = static_cast<int64_t>(shown.path->tokens.size());
    REQUIRE(shown.anomaly);
    CHECK(shown.anomaly->scored == tokens);
    CHECK(static_cast<int64_t>(shown.anomaly->percentile.size()) == tokens * shown.model->layers * shown.model->heads);
    REQUIRE(shown.trajectory);
    CHECK(shown.trajectory->points.size() > 8);
    REQUIRE(shown.reconstruction);
    CHECK(shown.reconstruction->tokens == tokens);
    CHECK(shown.reconstruction->bytes_per_token > 0);
    CHECK(shown.reconstruction->bytes_per_token < shown.reconstruction->raw_fp16_bytes_per_token);
    CHECK_FALSE(std::isnan(shown.path->tokens.back()->anomaly));
    CHECK_FALSE(std::isnan(shown.path->tokens.back()->hidden_fvu));
}

// The component whose edit moves the distribution most, of a few.
Tour find_a_strong_edit(Bench& bench, const TokenRef& token) {
    Tour tour{token, ids_of(*bench.now()), {}};
    const auto groups = static_cast<int64_t>(bench.now()->sidecar->groups.size());
    for (int64_t component = 0; component < 3; ++component) {
        const auto shown =
            bench.after(command::PreviewEdit{token, {set_component(token.position, groups - 3, component, 6)}});
        REQUIRE(shown->preview);
        CHECK(shown->preview->at == token);
        if (shown->preview->kl_edited > tour.preview.kl_edited) tour.preview = *shown->preview;
    }
    return tour;
}

void check_preview(const PreviewView& preview) {
    CHECK(preview.kl_edited > 0.05);
    CHECK(preview.kl_control < preview.kl_edited);
    CHECK(preview.kl_control < 1.0);
    CHECK(preview.distance_edited > preview.distance_control);
    CHECK(preview.rows.size() >= 10);
    double before = 0;
    for (const PreviewRow& row : preview.rows) before += row.before;
    CHECK(before <= 1.0001);
    CHECK(before > 0.2);
}

}  // namespace

TEST_CASE("the two-minute tour: generate, look inside, edit, resume, save, reopen") {
    const TemporaryFolder folder("tour");
    const std::string session = folder.file("tour.savepoint");
    const auto bench = Bench::ready();
    auto shown = bench->after(chat("Name three colours.", greedy(24)), true);
    REQUIRE_MESSAGE(shown->errors.empty(), errors_of(*shown));
    look_at_the_prompt(*shown);
    look_at_the_analyses(*shown);

    const ThoughtId first = shown->current;
    const int64_t at = static_cast<int64_t>(shown->path->tokens.size()) - 8;
    const TokenRef token{first, at};
    shown = bench->after(command::Select{token});
    REQUIRE(shown->latent);
    CHECK(shown->latent->token == token);
    CHECK(shown->latent->hidden.size() == shown->sidecar->groups.size());
    CHECK(shown->latent->key.size() == static_cast<size_t>(shown->model->layers));

    const Tour tour = find_a_strong_edit(*bench, token);
    check_preview(tour.preview);
    CHECK(bench->now()->trajectory->has_edit);

    shown = bench->after(command::ResumeEdit{token, tour.preview.edits, greedy(8)}, true);
    REQUIRE_MESSAGE(shown->errors.empty(), errors_of(*shown));
    const ThoughtId branch = shown->current;
    REQUIRE(branch != first);
    const ThoughtView* view = thought(*shown, branch);
    REQUIRE(view);
    CHECK(view->edge == EdgeKind::intervention);
    CHECK(view->parent == first);
    CHECK(view->prefix == at);
    CHECK(view->detail.find("hidden #") != std::string::npos);
    CHECK(view->tokens == 1 + 8);
    CHECK(shown->path->tokens[static_cast<size_t>(at)]->edited);
    const TokenRef edited{branch, at};
    CHECK(shown->selected == edited);
    REQUIRE(shown->latent);
    CHECK(shown->latent->token == edited);

    // What the preview promised is what the branch was sampled from.
    const auto& next = shown->path->tokens[static_cast<size_t>(at)]->next;
    const PreviewRow* likeliest = nullptr;
    for (const PreviewRow& row : tour.preview.rows)
        if (!likeliest || row.edited > likeliest->edited) likeliest = &row;
    CHECK(next[0].id == likeliest->id);
    CHECK(next[0].probability == doctest::Approx(likeliest->edited).epsilon(0.02));

    CHECK(ids_of(*bench->after(command::SetCurrent{first})) == tour.original);
    bench->after(command::Rename{branch, "pushed"});
    bench->after(command::SetCurrent{branch});
    const auto branch_ids = ids_of(*bench->now());
    shown = bench->after(command::SaveSession{session, "{\"layout\": 1}"});
    REQUIRE_MESSAGE(shown->errors.empty(), errors_of(*shown));
    CHECK(shown->session.folder == session);
    CHECK_FALSE(shown->session.modified);

    const auto reopened = Bench::ready();
    auto again = reopened->after(command::OpenSession{session}, true);
    REQUIRE_MESSAGE(again->errors.empty(), errors_of(*again));
    CHECK(again->session.view == "{\"layout\": 1}");
    CHECK(again->graph->thoughts.size() == 2);
    CHECK(again->current == branch);
    CHECK(again->selected == edited);
    CHECK(again->session.read_only);  // the first workbench still has it
    CHECK(thought(*again, branch)->label == "pushed");
    CHECK(ids_of(*again) == branch_ids);
    REQUIRE(again->latent);  // its hidden states were recomputed

    // Going on from the reopened state and from the live one are the same run.
    const auto live = bench->after(command::Continue{branch, greedy(6)});
    again = reopened->after(command::Continue{branch, greedy(6)});
    CHECK(ids_of(*again) == ids_of(*live));
    for (size_t i = 0; i < live->path->tokens.size(); ++i) {
        if (i > 0) CHECK(again->path->tokens[i]->log_probability == live->path->tokens[i]->log_probability);
        CHECK(again->path->tokens[i]->entropy == live->path->tokens[i]->entropy);
    }
}
