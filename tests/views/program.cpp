#include "tests/views/program.h"

#include <imgui_internal.h>

#include <cstdlib>
#include <filesystem>

namespace savepoint::test {
namespace {

std::string model_path() {
    const char* named = std::getenv("SAVEPOINT_MODEL");
    return named && *named ? named : SAVEPOINT_DEFAULT_MODEL;
}

// Never the user's own: the small sidecar that is fitted where there is none must not be taken for a good one.
std::string data_folder() {
    const char* named = std::getenv("SAVEPOINT_DATA");
    return named && *named ? named : (std::filesystem::temp_directory_path() / "savepoint-views-data").string();
}

}  // namespace

Workbench& workbench(Harness& harness, bool anew) {
    static std::unique_ptr<Workbench> bench;
    if (anew) bench.reset();
    if (!bench) {
        WorkbenchOptions options;
        options.data_folder = data_folder();
        options.device = "cpu";
        options.fit.fit_tokens = 4096, options.fit.calibration_tokens = 1024,
        options.fit.own_samples = 4;  // where none is stored
        bench = std::make_unique<Workbench>(options);
        bench->submit(command::LoadModel{model_path()});
    }
    harness.connect({[] { return bench->snapshot(); }, [](Command command) { bench->submit(std::move(command)); }});
    return *bench;
}

void add_program_test(Harness& harness, const char* name,
                      std::function<void(ImGuiTestContext* ctx, Harness& harness)> body) {
    ImGuiTest* test = IM_REGISTER_TEST(harness.engine(), "program", name);
    test->TestFunc = [&harness, body = std::move(body)](ImGuiTestContext* ctx) {
        workbench(harness);
        ctx->Yield(3);
        if (!wait_until(ctx, kPatience, [&] { return harness.snapshot()->model->phase == Phase::ready; })) {
            IM_ERRORF("the model did not load: %s", harness.snapshot()->model->error.c_str());
            return;
        }
        body(ctx, harness);
    };
}

ImGuiTestRef child(ImGuiTestContext* ctx, const char* path) { return ctx->WindowInfo(path).ID; }

bool settled(const Snapshot& s) {
    return !s.status.generating && s.path && !s.path->tokens.empty() && !s.path->generating;
}

void check_no_errors(const Harness& harness) {
    const auto snapshot = harness.snapshot();
    for (const ErrorView& error : snapshot->errors) IM_ERRORF("%s: %s", error.title.c_str(), error.message.c_str());
}

void set_length(ImGuiTestContext* ctx, int tokens) {
    ctx->SetRef("//Transcript");
    ctx->ItemClick("###sampling");
    ctx->SetRef("//$FOCUSED");
    ctx->ItemInputValue("settings/##max_tokens", tokens);
    ctx->PopupCloseAll();
}

void type_prompt(ImGuiTestContext* ctx, const char* prompt) {
    ctx->SetRef("//Transcript");
    ctx->ItemInput("##prompt");
    ctx->KeyCharsReplace(prompt);
}

int64_t first_generated(const Snapshot& s) {
    for (const auto& token : s.path->tokens)
        if (!token->prompt) return token->position;
    return -1;
}

void generate(ImGuiTestContext* ctx, Harness& harness, const char* prompt, int tokens) {
    const ThoughtId before = harness.snapshot()->current;
    set_length(ctx, tokens);
    type_prompt(ctx, prompt);
    ctx->ItemClick("Generate");
    IM_CHECK(wait_until(ctx, kPatience, [&] {
        const auto s = harness.snapshot();
        return s->current != before && settled(*s) && first_generated(*s) > 0 && !s->status.busy;
    }));
}

void generate_raw(ImGuiTestContext* ctx, Harness& harness, const char* prompt, int tokens) {
    const size_t before = harness.snapshot()->graph->thoughts.size();
    set_length(ctx, tokens);
    type_prompt(ctx, prompt);
    ctx->ItemClick("Raw text");
    ctx->ItemClick("Generate");
    IM_CHECK(wait_until(ctx, kPatience, [&] {
        return harness.snapshot()->graph->thoughts.size() > before && settled(*harness.snapshot());
    }));
    ctx->ItemClick("//Transcript/Chat");
}

void discard_session(ImGuiTestContext* ctx, Harness& harness) {
    ctx->MenuClick("//##MainMenuBar/File/New session");
    ctx->Yield(3);
    if (ctx->ItemExists("//Unsaved changes/Don't save")) ctx->ItemClick("//Unsaved changes/Don't save");
    IM_CHECK(wait_until(ctx, 20, [&] { return harness.snapshot()->graph->thoughts.empty(); }));
}

}  // namespace savepoint::test
