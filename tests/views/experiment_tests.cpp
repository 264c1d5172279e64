// An experiment from its button to the offending texts, over a real model.

#include <algorithm>
#include <filesystem>
#include <fstream>

#include "core/workbench/experiment_view.h"
#include "core/workbench/phi_ranking_view.h"
#include "tests/views/program.h"

namespace savepoint::test {
namespace {

bool ended(Harness& h) {
    const auto view = h.snapshot()->experiment;
    return view && view->phase != Phase::working;
}

void choose_and_run(ImGuiTestContext* ctx, Harness& h) {
    h.window().shell().show_panel("Experiments");
    ctx->Yield(4);
    picture_of_all(ctx, h, "experiment-empty");
    ctx->ItemClick("//Experiments/##builtin");
    ctx->ItemClick("//$FOCUSED/gibberish_4_mid");
    ctx->ItemClick("//Experiments/Run");
    IM_CHECK(wait_until(ctx, 60, [&] { return h.snapshot()->experiment != nullptr; }));
    IM_CHECK(wait_until(ctx, 600, [&] { return ended(h); }));
    ctx->Yield(4);
    picture_of_all(ctx, h, "experiment");
}

// A few hundred tokens and a learned phi that has hardly learned: through the settings, a cancel, the whole, the table.
void rank_feature_maps(ImGuiTestContext* ctx, Harness& h) {
    const auto phase = [&] { return h.snapshot()->phi_ranking ? h.snapshot()->phi_ranking->phase : Phase::absent; };
    h.window().shell().show_panel("Phi");
    ctx->Yield(4);
    picture_of_all(ctx, h, "phi-empty");
    ctx->ItemInputValue("//Phi/texts", 4);
    ctx->ItemInputValue("//Phi/tokens", 20'000);
    ctx->ItemClick("//Phi/keys/After");
    ctx->ItemClick("//Phi/Rank");
    IM_CHECK(
        wait_until(ctx, 300, [&] { return h.snapshot()->phi_ranking && !h.snapshot()->phi_ranking->rows.empty(); }));
    ctx->Yield(2);
    picture_of_all(ctx, h, "phi-running");
    ctx->ItemClick("//Phi/Cancel");
    IM_CHECK(wait_until(ctx, 60, [&] { return phase() == Phase::absent; }));
    IM_CHECK_EQ(h.snapshot()->phi_ranking->rows.size(), all_phi().size());
    ctx->ItemInputValue("//Phi/tokens", 256);
    ctx->ItemClick("//Phi/keys/Both");
    ctx->ItemClick("//Phi/Rank");
    IM_CHECK(wait_until(ctx, 60, [&] { return phase() == Phase::working; }));
    IM_CHECK(wait_until(ctx, 600, [&] { return phase() == Phase::ready; }));
    ctx->Yield(3);
    picture_of_all(ctx, h, "phi-error");
}

// The curves by token as CSV, through the menu and its dialog: a line for each position of each curve.
void export_curves(ImGuiTestContext* ctx, const std::vector<ScoreCurve>& curves) {
    const auto folder = std::filesystem::temp_directory_path() / "savepoint-views-injection";
    std::filesystem::remove_all(folder);
    std::filesystem::create_directories(folder);
    ctx->ItemClick("//Experiments/Export");
    ctx->ItemClick("//$FOCUSED/Score by token (CSV)");
    choose_file(ctx, "//Export the experiment", folder.string());
    const std::string path = (folder / "injection.csv").string();
    IM_CHECK(wait_until(ctx, 60, [&] { return std::filesystem::exists(path); }));
    std::ifstream file(path);
    std::string line;
    std::getline(file, line);
    IM_CHECK_STR_EQ(line.c_str(), "position,source,mean,above,auroc");
    size_t lines = 0;
    while (std::getline(file, line)) ++lines;
    IM_CHECK_EQ(lines, 3 * curves[0].mean.size());
    std::filesystem::remove_all(folder);
}

}  // namespace

void register_experiment_tests(Harness& harness) {
    add_program_test(harness, "another_anomaly_choice_is_fitted_and_cancelled", [](ImGuiTestContext* ctx, Harness& h) {
        IM_CHECK(wait_until(ctx, kPatience, [&] { return h.snapshot()->sidecar->phase == Phase::ready; }));
        generate_raw(ctx, h, "The sea is blue, because the water", 12);
        h.window().shell().show_panel("Anomaly");
        IM_CHECK(wait_until(ctx, 120, [&] { return h.snapshot()->anomaly && !h.snapshot()->status.busy; }));
        ctx->ItemClick("//Anomaly/###choice");
        ctx->ItemClick("//$FOCUSED/##phi");
        ctx->ItemClick("//$FOCUSED/squared ReLU");
        ctx->PopupCloseAll();
        const auto state = [&] { return h.snapshot()->reference->state; };
        IM_CHECK(wait_until(ctx, 20, [&] { return state() == ReferenceView::State::absent; }));
        ctx->ItemClick("//Anomaly/###fit");
        IM_CHECK(wait_until(ctx, 60, [&] { return state() == ReferenceView::State::fitting; }));
        ctx->Yield(3);
        ctx->ItemClick("//Anomaly/Cancel##fit");
        IM_CHECK(wait_until(ctx, 60, [&] { return state() == ReferenceView::State::absent; }));
        IM_CHECK(h.snapshot()->anomaly->choice == AnomalyChoice());
        // The pruned cache needs no reference of its own.
        ctx->ItemClick("//Anomaly/###choice");
        ctx->ItemClick("//$FOCUSED/##prune");
        ctx->ItemClick("//$FOCUSED/attention mass");
        ctx->PopupCloseAll();
        IM_CHECK(wait_until(ctx, 60, [&] {
            return h.snapshot()->anomaly && h.snapshot()->anomaly->pruned_scored == h.snapshot()->anomaly->tokens;
        }));
        ctx->Yield(3);
        picture_of_all(ctx, h, "anomaly-mass-weighted");
        workbench(h).submit(command::SetPruning{});
        workbench(h).submit(command::SetAnomalyChoice{});
        check_no_errors(h);
    });
    add_program_test(harness, "feature_maps_are_ranked", [](ImGuiTestContext* ctx, Harness& h) {
        rank_feature_maps(ctx, h);
        if (ctx->IsError()) return;
        const auto view = h.snapshot()->phi_ranking;
        IM_CHECK_EQ(view->rows.size(), 2 * all_phi().size());
        IM_CHECK_EQ(view->settings.held_out_tokens, 256);
        // By cosine, the worst first; then a row is chosen: its curve is brought out.
        ctx->ItemClick("//Phi/measure/Cosine");
        ctx->TableClickHeader("//Phi/ranking", "cosine");
        ctx->ItemClick("//Phi/**/elu + 1##after");
        ctx->Yield(3);
        picture_of_all(ctx, h, "phi-cosine");
        const std::string path = (std::filesystem::temp_directory_path() / "savepoint-phi-test.csv").string();
        workbench(h).submit(command::Export{"phi.csv", path});
        IM_CHECK(wait_until(ctx, 60, [&] { return std::filesystem::exists(path); }));
        std::filesystem::remove(path);
        check_no_errors(h);
    });
    add_program_test(harness, "experiment_to_texts", [](ImGuiTestContext* ctx, Harness& h) {
        choose_and_run(ctx, h);
        if (ctx->IsError()) return;
        const auto view = h.snapshot()->experiment;
        IM_CHECK_EQ(static_cast<int>(view->phase), static_cast<int>(Phase::ready));
        const ExperimentResult& result = *view->result;
        IM_CHECK_EQ(result.texts.size(), 100u);
        // Random tokens are the surest thing for the log-probability, and no length gives them away.
        IM_CHECK_GT(result.rows[static_cast<size_t>(result.best("log_probability", false))].auroc, 0.85);
        IM_CHECK_EQ(result.rows[static_cast<size_t>(result.best("length", false))].auroc, 0.5);
        // A random token is improbable at once, and by token: nothing is so before it.
        const auto& curves = result.injection.curves;
        IM_CHECK_EQ(curves.size(), 3u);
        IM_CHECK_EQ(curves[2].name, "log_probability");
        IM_CHECK_EQ(curves[2].delay, 0);
        ctx->ItemClick("//Experiments/plot/Score by token");
        ctx->Yield(3);
        picture_of_all(ctx, h, "experiment-by-token");
        ctx->ItemClick("//Experiments/plot/Texts above");
        ctx->Yield(3);
        picture_of_all(ctx, h, "experiment-above");
        ctx->ItemClick("//Experiments/plot/ROC");
        // The filter leaves the rows that it names; the first of them is chosen, and its texts are listed.
        ctx->ItemClick("//Experiments/##filter");
        ctx->KeyCharsReplace("activation / last token / middle layer / knn");
        ctx->Yield(2);
        ctx->ItemClick("//Experiments/**/activation \\/ last token \\/ middle layer \\/ kNN distance");
        ctx->Yield(3);
        picture_of_all(ctx, h, "experiment-chosen");
        const std::string path = (std::filesystem::temp_directory_path() / "savepoint-experiment-test.html").string();
        workbench(h).submit(command::Export{"experiment.html", path});
        IM_CHECK(wait_until(ctx, 60, [&] { return std::filesystem::exists(path); }));
        std::ifstream file(path);
        const std::string page(std::istreambuf_iterator<char>(file), {});
        IM_CHECK(page.find("gibberish_4_mid") != std::string::npos);
        std::filesystem::remove(path);
        export_curves(ctx, curves);
        check_no_errors(h);
    });
}

}  // namespace savepoint::test
