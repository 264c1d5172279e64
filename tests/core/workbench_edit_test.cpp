#include <atomic>

#include "workbench_fixture.h"

using namespace savepoint;
using namespace savepoint::test;

namespace {

LatentEdit whole_group(EditKind kind, int64_t token, int64_t group, double amount) {
    LatentEdit edit;
    edit.kind = kind;
    edit.part = LatentPart::all;
    edit.first_token = edit.last_token = token;
    edit.group = group;
    edit.amount = amount;
    edit.seed = 4;
    return edit;
}

// Counts the previews that are published while it lives.
class PreviewCount {
   public:
    explicit PreviewCount(Bench& bench) : bench_(bench) {
        bench.workbench.on_change([this] {
            const auto now = bench_.now()->preview;
            count_ += now && now != last_;
            last_ = now;
        });
    }
    ~PreviewCount() { bench_.workbench.on_change({}); }
    int64_t count() const { return count_; }

   private:
    Bench& bench_;
    std::shared_ptr<const PreviewView> last_;
    std::atomic<int64_t> count_ = 0;
};

}  // namespace

TEST_CASE("latent edits") {
    Bench& bench = Bench::shared();
    auto shown = bench.after(raw("The opposite of hot is", greedy(10)), true);
    const ThoughtId thought = shown->current;
    const int64_t at = static_cast<int64_t>(shown->path->tokens.size()) - 4;
    const TokenRef token{thought, at};
    const auto groups = static_cast<int64_t>(shown->sidecar->groups.size());
    bench.after(command::Select{token});

    SUBCASE("an edit of nothing is its control") {
        const float now = bench.now()->latent->hidden[2][1];
        shown = bench.after(command::PreviewEdit{token, {set_component(at, 2, 1, now)}});
        REQUIRE_MESSAGE(shown->errors.empty(), errors_of(*shown));
        CHECK(shown->preview->kl_edited < 1e-4);
        CHECK(shown->preview->distance_edited == doctest::Approx(shown->preview->distance_control).epsilon(1e-3));
    }

    SUBCASE("of many previews that wait, the newest is the one that is shown, and few are run") {
        const PreviewCount previews(bench);
        for (int i = 1; i <= 200; ++i) bench.send(command::PreviewEdit{token, {set_component(at, 2, 1, 0.05 * i)}});
        bench.finish_commands();
        CHECK(bench.now()->preview->edits[0].amount == doctest::Approx(10.0));
        CHECK(previews.count() > 0);
        CHECK(previews.count() < 30);
        CHECK(bench.after(command::PreviewEdit{token, {}})->preview == nullptr);
        CHECK_FALSE(bench.now()->trajectory->has_edit);
    }

    SUBCASE("every kind and part can be previewed and resumed") {
        LatentEdit copy = whole_group(EditKind::copy, at, 3, 0);
        copy.source_thought = thought;
        copy.source_token = at - 2;
        LatentEdit slerp = copy;
        slerp.kind = EditKind::slerp;
        slerp.amount = 0.5;
        const std::vector<LatentEdit> edits = {whole_group(EditKind::zero, at, 3, 0),
                                               whole_group(EditKind::noise, at, 3, 1), copy, slerp};
        for (const LatentEdit& edit : edits) {
            shown = bench.after(command::PreviewEdit{token, {edit}});
            REQUIRE_MESSAGE(shown->errors.empty(), errors_of(*shown));
            CHECK(shown->preview->kl_edited > 0);
            const double promised = shown->preview->rows[0].edited;
            const TokenId id = shown->preview->rows[0].id;
            shown = bench.after(command::ResumeEdit{token, {edit}, greedy(2)});
            REQUIRE_MESSAGE(shown->errors.empty(), errors_of(*shown));
            const bool takes = edit.kind == EditKind::copy || edit.kind == EditKind::slerp;
            CHECK(test::thought(*shown, shown->current)->edge ==
                  (takes ? EdgeKind::counterfactual : EdgeKind::intervention));
            for (const CandidateView& next : shown->path->tokens[static_cast<size_t>(at)]->next)
                if (next.id == id) CHECK(next.probability == doctest::Approx(promised).epsilon(0.03));
        }
        CHECK(ids_of(*bench.after(command::SetCurrent{thought})).size() == static_cast<size_t>(at + 4));
    }

    SUBCASE("a range of tokens: those between the edited ones are fed again") {
        std::vector<LatentEdit> edits = {set_component(at - 4, 2, 0, 5), set_component(at - 2, groups - 2, 0, -5)};
        shown = bench.after(command::PreviewEdit{token, edits});
        REQUIRE_MESSAGE(shown->errors.empty(), errors_of(*shown));
        CHECK(shown->preview->kl_edited > 0);
        const double promised = shown->preview->rows[0].edited;
        const TokenId id = shown->preview->rows[0].id;
        shown = bench.after(command::ResumeEdit{token, edits, greedy(3)});
        const ThoughtView* view = test::thought(*shown, shown->current);
        CHECK(view->prefix == at - 4);
        CHECK(view->tokens == 5 + 3);
        CHECK(view->prompt_tokens == 5);
        CHECK(shown->path->tokens[static_cast<size_t>(at - 4)]->edited);
        CHECK_FALSE(shown->path->tokens[static_cast<size_t>(at - 3)]->edited);
        CHECK(shown->path->tokens[static_cast<size_t>(at - 2)]->edited);
        for (const CandidateView& next : shown->path->tokens[static_cast<size_t>(at)]->next)
            if (next.id == id) CHECK(next.probability == doctest::Approx(promised).epsilon(0.03));
    }

    SUBCASE("previews and selections are answered while a thought is being generated") {
        bench.send(raw("Count: one, two, three,", greedy(200)));
        REQUIRE(bench.wait_for([](const Snapshot& s) { return s.status.generating && s.path->tokens.size() > 10; }));
        bench.send(command::PreviewEdit{token, {set_component(at, 2, 1, 4)}});
        REQUIRE(bench.wait_for([](const Snapshot& s) { return s.preview != nullptr; }, 5s));
        const auto during = bench.now();
        CHECK(during->status.generating);
        const size_t tokens = during->path->tokens.size();
        CHECK(bench.wait_for([&](const Snapshot& s) { return s.path->tokens.size() > tokens + 3; }));
        bench.after(command::Stop{});
        // The preview left no trace in the run: a second one without it gives the same tokens.
        const auto ids = ids_of(*bench.now());
        const auto plain = ids_of(*bench.after(raw("Count: one, two, three,", greedy(200)), false));
        CHECK(part(plain, 0, static_cast<int64_t>(ids.size())) == ids);
    }

    SUBCASE("the trajectory can show chosen thoughts and one group") {
        const auto branch = bench.after(command::BranchHere{{thought, at}, greedy(6)}, true);
        shown = bench.after(command::SetTrajectory{{thought, branch->current}, 1}, true);
        REQUIRE(shown->trajectory);
        CHECK(shown->trajectory->group == 1);
        CHECK(shown->trajectory->thoughts == std::vector<ThoughtId>{thought, branch->current});
        const size_t first_tokens = 4;
        CHECK(shown->trajectory->points.size() == static_cast<size_t>(at + 4) - first_tokens + 6);
    }

    SUBCASE("the other feature map is scored on demand") {
        shown = bench.after(command::SetAnomalyChoice{{.phi = {.kind = PhiKind::identity}}}, true);
        REQUIRE(shown->anomaly);
        CHECK(shown->anomaly->choice.phi.kind == PhiKind::identity);
        CHECK(shown->anomaly->scored == shown->anomaly->tokens);
        const auto identity = shown->anomaly->distance;
        shown = bench.after(command::SetAnomalyChoice{}, true);
        CHECK(shown->anomaly->distance != identity);
        CHECK(shown->path->tokens.back()->anomaly == shown->anomaly->token_percentile.back());
    }

    SUBCASE("resuming from decoded states is measured on demand") {
        shown = bench.after(command::MeasureResume{thought, 0});
        REQUIRE_MESSAGE(shown->errors.empty(), errors_of(*shown));
        REQUIRE(shown->reconstruction);
        CHECK(shown->reconstruction->resume_prefix == (at + 4) / 2);
        CHECK(shown->reconstruction->kl_nats >= 0);
        CHECK(shown->reconstruction->top1_agreement <= 1);
    }
}
