// An experiment from its button to the offending texts, over a real model.

#include <algorithm>
#include <filesystem>
#include <fstream>

#include "core/workbench/experiment_view.h"
#include "tests/views/program.h"

namespace savepoint::test {
namespace {

bool ended(Harness& h) {
    const auto& view = h.snapshot()->experiment;
    return view && view->phase != Phase::working;
}

void choose_and_run(ImGuiTestContext* ctx, Harness& h) {
    h.window().shell().show_panel("Experiments");
    ctx->Yield(4);
    picture_of_all(ctx, h, "experiment-empty");
    ctx->ItemClick("//Experiments/##builtin");
    ctx->ItemClick("//$FOCUSED/gibberish_4");
    ctx->ItemClick("//Experiments/Run");
    IM_CHECK(wait_until(ctx, 60, [&] { return h.snapshot()->experiment != nullptr; }));
    IM_CHECK(wait_until(ctx, 600, [&] { return ended(h); }));
    ctx->Yield(4);
    picture_of_all(ctx, h, "experiment");
}

}  // namespace

void register_experiment_tests(Harness& harness) {
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
        // The filter leaves the rows that it names; the first of them is chosen, and its texts are listed.
        ctx->ItemClick("//Experiments/##filter");
        ctx->KeyCharsReplace("activation / last / middle / knn");
        ctx->Yield(2);
        ctx->ItemClick("//Experiments/**/activation \\/ last \\/ middle \\/ knn");
        ctx->Yield(3);
        picture_of_all(ctx, h, "experiment-chosen");
        const std::string path = (std::filesystem::temp_directory_path() / "savepoint-experiment-test.html").string();
        workbench(h).submit(command::Export{"experiment.html", path});
        IM_CHECK(wait_until(ctx, 60, [&] { return std::filesystem::exists(path); }));
        std::ifstream file(path);
        const std::string page(std::istreambuf_iterator<char>(file), {});
        IM_CHECK(page.find("gibberish_4") != std::string::npos);
        std::filesystem::remove(path);
        for (const ErrorView& error : h.snapshot()->errors)
            IM_ERRORF("%s: %s", error.title.c_str(), error.message.c_str());
    });
}

}  // namespace savepoint::test
