// Panels over a made-up session: what the user does becomes the right command.

#include <imgui_internal.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <filesystem>
#include <fstream>

#include "tests/views/harness.h"
#include "tests/views/sample_snapshot.h"

namespace savepoint::test {
namespace {

bool tooltip_shown() {
    for (const ImGuiWindow* window : ImGui::GetCurrentContext()->Windows)
        if ((window->Flags & ImGuiWindowFlags_Tooltip) && window->Active && !window->Hidden) return true;
    return false;
}

ImGuiTestRef child(ImGuiTestContext* ctx, const char* path) { return ctx->WindowInfo(path).ID; }

// Registers a test that starts from the sample session with nothing submitted yet.
template <class Body>
void add(Harness& harness, const char* name, Body body) {
    ImGuiTest* test = IM_REGISTER_TEST(harness.engine(), "panels", name);
    test->TestFunc = [&harness, body](ImGuiTestContext* ctx) {
        harness.show(sample_snapshot());
        harness.window().shell().show_panel("Transcript");
        ctx->Yield(4);
        body(ctx, harness);
    };
}

void register_transcript(Harness& harness) {
    add(harness, "transcript_click_selects", [](ImGuiTestContext* ctx, Harness& h) {
        ctx->SetRef(child(ctx, "//Transcript/flow"));
        ctx->ItemClick("token 40");
        IM_CHECK_EQ(count<command::Select>(h.submitted()), 1);
        const auto select = last<command::Select>(h.submitted());
        IM_CHECK_EQ(select.token.position, 40);
        IM_CHECK_EQ(select.token.thought, 3);
    });
    add(harness, "transcript_hover_shows_tooltip", [](ImGuiTestContext* ctx, Harness& h) {
        ctx->SetRef(child(ctx, "//Transcript/flow"));
        ctx->MouseMove("token 30");
        IM_CHECK(wait_until(ctx, 3, tooltip_shown));
        IM_CHECK_EQ(h.window().shell().ui().hovered.position, 30);
        picture_of_all(ctx, h, "token-tooltip");
    });
    add(harness, "transcript_keys_move_selection", [](ImGuiTestContext* ctx, Harness& h) {
        ctx->SetRef(child(ctx, "//Transcript/flow"));
        ctx->ItemClick("token 40");
        ctx->KeyPress(ImGuiKey_RightArrow);
        IM_CHECK_EQ(last<command::Select>(h.submitted()).token.position, 41);
        ctx->KeyPress(ImGuiKey_Home);
        IM_CHECK_EQ(last<command::Select>(h.submitted()).token.position, 0);
    });
    add(harness, "transcript_menu_branches_and_replaces", [](ImGuiTestContext* ctx, Harness& h) {
        ctx->SetRef(child(ctx, "//Transcript/flow"));
        ctx->ItemClick("token 40", ImGuiMouseButton_Right);
        ctx->ItemClick("//$FOCUSED/Branch here");
        IM_CHECK_EQ(count<command::BranchHere>(h.submitted()), 1);
        const auto branch = last<command::BranchHere>(h.submitted());
        IM_CHECK_EQ(branch.at.position, 40);
        ctx->ItemClick("token 41", ImGuiMouseButton_Right);
        const CandidateView third = h.snapshot()->path->tokens[40]->next[2];
        ctx->MenuClick(("//$FOCUSED/Replace token by/###" + std::to_string(third.id)).c_str());
        IM_CHECK_EQ(count<command::ReplaceToken>(h.submitted()), 1);
        const auto replace = last<command::ReplaceToken>(h.submitted());
        IM_CHECK_EQ(replace.at.position, 41);
        IM_CHECK_EQ(replace.token, third.id);
        ctx->ItemClick("token 12", ImGuiMouseButton_Right);
        ctx->ItemClick("//$FOCUSED/Rewind here");
        IM_CHECK_EQ(last<command::RewindHere>(h.submitted()).token.position, 12);
    });
    add(harness, "transcript_colours", [](ImGuiTestContext* ctx, Harness& h) {
        ctx->SetRef("//Transcript");
        ctx->ComboClick("##colour/Reconstruction error");
        IM_CHECK(h.window().shell().ui().colour == views::TokenColour::reconstruction);
        picture_of_all(ctx, h, "colour-reconstruction");
        ctx->ComboClick("##colour/Log-probability");
        IM_CHECK(h.window().shell().ui().colour == views::TokenColour::log_probability);
    });
}

void register_marks(Harness& harness) {
    add(harness, "marks_are_set_and_gone_to", [](ImGuiTestContext* ctx, Harness& h) {
        h.window().shell().show_panel("Anomaly");
        ctx->Yield(3);
        ctx->ItemInputValue("//Anomaly/##mark", "97.5");
        IM_CHECK_EQ(last<command::SetMarkThreshold>(h.submitted()).percentile, 97.5);
        // The next one after the selected token, from the start again after the last.
        std::vector<int64_t> marked;
        const auto path = h.snapshot()->path;
        for (const auto& token : path->tokens)
            if (token->marked) marked.push_back(token->position);
        IM_CHECK(std::find(marked.begin(), marked.end(), h.snapshot()->selected.position) != marked.end());
        const auto next = std::upper_bound(marked.begin(), marked.end(), h.snapshot()->selected.position);
        ctx->ItemClick("//Anomaly/###marks");
        IM_CHECK_EQ(last<command::Select>(h.submitted()).token.position, next == marked.end() ? marked[0] : *next);
        h.window().shell().ui().request_fit_graph = true;
        ctx->Yield(40);
        ctx->SetRef(child(ctx, "//Thought graph/canvas"));
        // On the current path: selected there. On another: that path is shown too.
        ctx->ItemClick("marks 1");
        IM_CHECK_EQ(last<command::Select>(h.submitted()).token.thought, 1);
        IM_CHECK_EQ(last<command::Select>(h.submitted()).token.position, 37);
        IM_CHECK_EQ(count<command::RewindHere>(h.submitted()), 0);
        ctx->ItemClick("marks 7");
        IM_CHECK_EQ(last<command::RewindHere>(h.submitted()).token.thought, 7);
        IM_CHECK_EQ(last<command::RewindHere>(h.submitted()).token.position, 45);
        ctx->MouseMove("marks 7");
        IM_CHECK(wait_until(ctx, 3, tooltip_shown));
        picture_of_all(ctx, h, "marks");
        IM_CHECK(!ctx->ItemExists("marks 5"));
    });
}

// What a workbench would show next: the choice has no reference; it is being fitted; a pruned cache beside the full
// one.
std::shared_ptr<Snapshot> with_reference(ReferenceView::State state, const AnomalyChoice& choice) {
    auto snapshot = sample_snapshot();
    ReferenceView view;
    view.state = state, view.choice = choice;
    view.progress = 0.37, view.stage = "states of pass 31 of 85";
    snapshot->reference = std::make_shared<const ReferenceView>(view);
    JobView job;
    job.id = 77, job.name = "Fitting the anomaly reference";
    snapshot->jobs = std::make_shared<const std::vector<JobView>>(std::vector{job});
    return snapshot;
}

std::shared_ptr<Snapshot> with_pruned_scores() {
    auto snapshot = sample_snapshot();
    AnomalyView view = *snapshot->anomaly;
    snapshot->pruning = view.pruning = {PruningKind::heavy, 16};
    view.pruned_scored = view.scored;
    view.masked = 12;
    view.pruned_percentile = view.percentile, view.pruned_distance = view.distance;
    for (float& percentile : view.pruned_percentile) percentile = std::min(100.0f, percentile + 20);
    view.pruned_token_percentile = view.token_percentile;
    for (float& percentile : view.pruned_token_percentile) percentile = 100 - percentile;
    snapshot->anomaly = std::make_shared<const AnomalyView>(view);
    return snapshot;
}

void register_choices(Harness& harness) {
    add(harness, "anomaly_choices_are_clicked", [](ImGuiTestContext* ctx, Harness& h) {
        h.window().shell().show_panel("Anomaly");
        ctx->Yield(3);
        IM_CHECK(!ctx->ItemExists("//Anomaly/###fit"));
        const auto choose = [&](const char* combo, const char* entry) {
            ctx->ItemClick((std::string("//Anomaly/###choice")).c_str());
            ctx->ItemClick((std::string("//$FOCUSED/") + combo).c_str());
            ctx->ItemClick((std::string("//$FOCUSED/") + entry).c_str());
            ctx->PopupCloseAll();
            return last<command::SetAnomalyChoice>(h.submitted()).choice;
        };
        ctx->ItemClick("//Anomaly/###choice");
        ctx->Yield(2);
        picture_of_all(ctx, h, "anomaly-choices");
        ctx->PopupCloseAll();
        IM_CHECK(choose("##phi", "ReLU").phi.kind == PhiKind::relu);
        IM_CHECK(choose("##phi", "identity").form == StateForm::mean);  // the default of signed phi
        IM_CHECK(choose("##rotary", "after rotary").phi.rotary);
        IM_CHECK(choose("##form", "singular values").form == StateForm::singular_values);
        IM_CHECK(choose("##detector", "LOF").detector == DetectorKind::lof);
        choose("##prune", "heavy hitters");
        IM_CHECK(last<command::SetPruning>(h.submitted()).pruning.kind == PruningKind::heavy);

        const AnomalyChoice wanted{{.kind = PhiKind::favor, .rotary = true}, StateForm::rows, DetectorKind::knn};
        h.show(with_reference(ReferenceView::State::absent, wanted));
        ctx->Yield(3);
        picture_of_all(ctx, h, "anomaly-no-reference");
        ctx->ItemClick("//Anomaly/###fit");
        IM_CHECK_EQ(count<command::FitReference>(h.submitted()), 1);
        h.show(with_reference(ReferenceView::State::fitting, wanted));
        ctx->Yield(3);
        picture_of_all(ctx, h, "anomaly-fitting");
        ctx->ItemClick("//Anomaly/Cancel##fit");
        IM_CHECK_EQ(last<command::CancelJob>(h.submitted()).job, 77);

        h.show(with_pruned_scores());
        ctx->Yield(3);
        ctx->ItemClick("//Anomaly/cache/Kept");
        ctx->ItemClick("//Anomaly/mode/Tokens");
        ctx->Yield(3);
        picture_of_all(ctx, h, "anomaly-pruned");
    });
}

void register_prompt(Harness& harness) {
    add(harness, "prompt_generate_and_reply", [](ImGuiTestContext* ctx, Harness& h) {
        ctx->SetRef("//Transcript");
        ctx->ItemInput("##prompt");
        ctx->KeyCharsReplace("and");
        ctx->KeyPress(ImGuiKey_Enter);
        IM_CHECK_EQ(count<command::Generate>(h.submitted()), 1);
        IM_CHECK_STR_EQ(last<command::Generate>(h.submitted()).prompt.c_str(), "and");
        ctx->ItemInput("##prompt");
        ctx->KeyCharsReplace("and then?");
        ctx->KeyPress(ImGuiMod_Ctrl | ImGuiKey_Enter);
        IM_CHECK_EQ(count<command::Generate>(h.submitted()), 2);
        IM_CHECK_STR_EQ(last<command::Generate>(h.submitted()).prompt.c_str(), "and then?");
        IM_CHECK_EQ(last<command::Generate>(h.submitted()).after, 6);
        ctx->ItemInput("##prompt");
        ctx->KeyCharsReplace("one");
        ctx->KeyPress(ImGuiMod_Shift | ImGuiKey_Enter);
        ctx->KeyChars("two");
        ctx->ItemClick("Generate");
        IM_CHECK_EQ(count<command::Generate>(h.submitted()), 3);
        const auto generate = last<command::Generate>(h.submitted());
        IM_CHECK_STR_EQ(generate.prompt.c_str(), "one\ntwo");
        IM_CHECK_EQ(generate.after, 0);
        IM_CHECK(generate.chat);
    });
    add(harness, "prompt_is_raw_text_without_a_chat_template", [](ImGuiTestContext* ctx, Harness& h) {
        auto plain = std::make_shared<Snapshot>(*h.snapshot());
        auto model = std::make_shared<ModelView>(*plain->model);
        model->has_chat_template = false;
        plain->model = model;
        h.show(plain);
        ctx->SetRef("//Transcript");
        ctx->ItemInput("##prompt");
        ctx->KeyCharsReplace("Once upon");
        ctx->ItemClick("Generate");
        IM_CHECK_EQ(count<command::Generate>(h.submitted()), 1);
        IM_CHECK(!last<command::Generate>(h.submitted()).chat);
    });
    add(harness, "prompt_sampling_settings", [](ImGuiTestContext* ctx, Harness& h) {
        ctx->SetRef("//Transcript");
        ctx->ItemClick("###sampling");
        ctx->SetRef("//$FOCUSED");
        picture_of_all(ctx, h, "sampling");
        ctx->ItemInputValue("settings/##max_tokens", 33);
        ctx->ItemCheck("settings/##greedy");
        ctx->PopupCloseAll();
        ctx->SetRef("//Transcript");
        ctx->ItemClick("Continue");
        IM_CHECK_EQ(count<command::Continue>(h.submitted()), 1);
        const auto go = last<command::Continue>(h.submitted());
        IM_CHECK_EQ(go.settings.max_tokens, 33);
        IM_CHECK(go.settings.sampler.greedy);
        h.window().shell().ui().generate = {};
    });
}

void register_graph(Harness& harness) {
    add(harness, "graph_click_and_double_click", [](ImGuiTestContext* ctx, Harness& h) {
        h.window().shell().ui().request_fit_graph = true;
        ctx->Yield(40);
        ctx->SetRef(child(ctx, "//Thought graph/canvas"));
        ctx->ItemClick("thought 4");
        IM_CHECK_EQ(last<command::Select>(h.submitted()).token.thought, 4);
        IM_CHECK_EQ(last<command::Select>(h.submitted()).token.position, 55);
        ctx->SleepNoSkip(0.6f, 0.1f);
        ctx->ItemDoubleClick("thought 2");
        IM_CHECK_EQ(count<command::SetCurrent>(h.submitted()), 1);
        IM_CHECK_EQ(last<command::SetCurrent>(h.submitted()).thought, 2);
        picture_of_all(ctx, h, "graph-fitted");
    });
    add(harness, "graph_menu", [](ImGuiTestContext* ctx, Harness& h) {
        h.window().shell().ui().request_fit_graph = true;
        ctx->Yield(40);
        ctx->SetRef(child(ctx, "//Thought graph/canvas"));
        ctx->ItemClick("thought 5", ImGuiMouseButton_Right);
        ctx->ItemClick("//$FOCUSED/Bookmark");
        IM_CHECK_EQ(last<command::Bookmark>(h.submitted()).thought, 5);
        IM_CHECK(last<command::Bookmark>(h.submitted()).on);
        ctx->ItemClick("thought 5", ImGuiMouseButton_Right);
        ctx->ItemClick("//$FOCUSED/Rename...");
        ctx->KeyCharsReplaceEnter("by the water");
        IM_CHECK_STR_EQ(last<command::Rename>(h.submitted()).label.c_str(), "by the water");
        IM_CHECK_EQ(last<command::Rename>(h.submitted()).thought, 5);
        ctx->ItemClick("thought 5", ImGuiMouseButton_Right);
        ctx->ItemClick("//$FOCUSED/Remove");
        IM_CHECK_EQ(last<command::RemoveThought>(h.submitted()).thought, 5);
    });
    add(harness, "graph_wheel_zooms_at_the_mouse", [](ImGuiTestContext* ctx, Harness& h) {
        h.window().shell().ui().request_fit_graph = true;
        ctx->Yield(40);
        ctx->SetRef(child(ctx, "//Thought graph/canvas"));
        ctx->MouseMove("thought 4");
        const ImRect before = ctx->ItemInfo("thought 4").RectFull;
        const ImVec2 mouse = ImGui::GetIO().MousePos;
        const float part = (mouse.x - before.Min.x) / before.GetWidth();
        ctx->MouseWheelY(3);
        ctx->Yield(40);
        const ImRect after = ctx->ItemInfo("thought 4").RectFull;
        IM_CHECK_GT(after.GetWidth(), 1.3f * before.GetWidth());
        IM_CHECK_LT(std::fabs((mouse.x - after.Min.x) / after.GetWidth() - part), 0.02f);
        h.window().shell().ui().request_fit_graph = true;
    });
}

void register_others(Harness& harness) {
    add(harness, "model_refit_and_copy", [](ImGuiTestContext* ctx, Harness& h) {
        h.window().shell().show_panel("Model and sidecar");
        ctx->Yield(4);
        picture_of_all(ctx, h, "model");
        ctx->SetRef(child(ctx, "//Model and sidecar/scroll"));
        ctx->ItemClick("model/model hash/Copy");
        IM_CHECK_STR_EQ(ImGui::GetClipboardText(), h.snapshot()->model->sha256.c_str());
        ctx->ItemCheck("###fit settings");
        ctx->ItemInputValue("fit settings/##Times smaller", 32);
        picture_of_all(ctx, h, "model-fit");
        ctx->ItemClick("###fit sidecar");
        FitSettings asked = last<command::FitSidecar>(h.submitted()).settings;
        IM_CHECK(asked.form == SidecarForm::joint);
        IM_CHECK_EQ(asked.joint.ratio, 32.0);
        ctx->ItemClick("fit settings/form/Separate");
        ctx->ItemInputValue("fit settings/##Hidden components", 64);
        ctx->ItemClick("###fit sidecar");
        asked = last<command::FitSidecar>(h.submitted()).settings;
        IM_CHECK(asked.form == SidecarForm::separate);
        IM_CHECK_EQ(asked.pca.hidden_components, 64);
        ctx->ItemUncheck("###fit settings");
    });
    add(harness, "reconstruction_measures_a_resume", [](ImGuiTestContext* ctx, Harness& h) {
        h.window().shell().show_panel("Reconstruction");
        ctx->Yield(4);
        picture_of_all(ctx, h, "reconstruction");
        ctx->SetRef(child(ctx, "//Reconstruction/scroll"));
        ctx->ItemClick("**/Measure again");  // scrolls there if need be
        IM_CHECK_EQ(last<command::MeasureResume>(h.submitted()).thought, 6);
    });
    add(harness, "codecs_are_compared_and_chosen", [](ImGuiTestContext* ctx, Harness& h) {
        h.window().shell().show_panel("Rate and distortion");
        ctx->Yield(4);
        picture_of_all(ctx, h, "rate-distortion");
        ctx->SetRef("//Rate and distortion");
        ctx->ItemDoubleClick("**/transform kv 16x");  // the first click must not move the row from under the second
        IM_CHECK_EQ(count<command::TryCodec>(h.submitted()), 1);
        h.submitted().clear();
        picture_of_all(ctx, h, "rate-distortion-tried");
        ctx->ItemClick("**/Try on this thought");
        IM_CHECK_EQ(count<command::TryCodec>(h.submitted()), 1);
        IM_CHECK_EQ(last<command::TryCodec>(h.submitted()).thought, h.snapshot()->current);
        IM_CHECK(last<command::TryCodec>(h.submitted()).codec == "transform kv 16x");
        ctx->ItemDoubleClick("**/transform kv 8x");
        IM_CHECK(last<command::TryCodec>(h.submitted()).codec == "transform kv 8x");
        ctx->ItemDoubleClick("**/quantized int2 g32");  // of which only the figures are known
        IM_CHECK_EQ(count<command::TryCodec>(h.submitted()), 2);
        ctx->ItemClick("Compare codecs");
        IM_CHECK_EQ(count<command::CompareCodecs>(h.submitted()), 1);
        IM_CHECK_EQ(last<command::CompareCodecs>(h.submitted()).settings.prefix, 192);
        ctx->ComboClick("##held out/code");
        ctx->ItemUncheck("baselines");
        ctx->ItemClick("Compare codecs");
        IM_CHECK(last<command::CompareCodecs>(h.submitted()).settings.held_out == "code");
        IM_CHECK(!last<command::CompareCodecs>(h.submitted()).settings.baselines);
    });
    add(harness, "a_training_is_paused_finished_and_judged", [](ImGuiTestContext* ctx, Harness& h) {
        h.window().shell().show_panel("Training");
        ctx->Yield(4);
        picture_of_all(ctx, h, "training");
        ctx->SetRef("//Training");
        ctx->ItemClick("Pause");
        IM_CHECK(last<command::PauseTraining>(h.submitted()).on);
        ctx->ItemClick("Finish now");
        IM_CHECK(last<command::StopTraining>(h.submitted()).judge);
        ctx->ItemClick("Cancel");
        IM_CHECK(!last<command::StopTraining>(h.submitted()).judge);
    });
    add(harness, "a_codec_is_trained_by_four_clicks", [](ImGuiTestContext* ctx, Harness& h) {
        const std::filesystem::path folder = std::filesystem::temp_directory_path() / "savepoint-views-text";
        std::filesystem::create_directories(folder);
        std::ofstream(folder / "poems.txt") << "The sea is wide.";
        auto fresh = std::make_shared<Snapshot>(*sample_snapshot());
        fresh->training = nullptr;
        h.show(fresh);
        h.window().shell().show_panel("Training");
        ctx->Yield(4);
        picture_of_all(ctx, h, "training-new");
        ctx->SetRef("//Training");
        ctx->ItemClick("Choose a text file");
        ctx->SetRef("//Choose a text");
        ctx->ItemInput("##folder");
        ctx->KeyCharsReplaceEnter(folder.c_str());
        IM_CHECK(wait_until(ctx, 5, [&] { return ctx->ItemExists("//Choose a text/**/###poems.txt"); }));
        ctx->ItemClick("**/###poems.txt");
        ctx->ItemClick("###accept");
        ctx->SetRef("//Training");
        ctx->ItemClick("Grouped");
        ctx->ItemClick("More settings");
        ctx->ItemUncheck("widths foretold");
        ctx->ItemCheck("corrections");
        ctx->ItemCheck("saves memory");
        ctx->ItemCheck("sees the token before");
        ctx->ItemInputValue("own share", "0.25");
        ctx->ItemClick("**/variational");
        ctx->ItemCheck("z in words (VQ)");
        IM_CHECK((ctx->ItemInfo("**/variational").ItemFlags & ImGuiItemFlags_Disabled) != 0);
        picture_of_all(ctx, h, "training-more");
        ctx->ItemClick("Train");
        const TrainingSettings settings = last<command::TrainCodec>(h.submitted()).settings;
        IM_CHECK(settings.codec.recurrent && settings.codec.quantizer == "vq" && settings.regularizer == "kl");
        IM_CHECK_EQ(settings.own_share, 0.25);
        IM_CHECK(settings.checkpointing && settings.codec.corrections() && settings.codec.prior == "fixed");
        IM_CHECK(settings.corpus == (folder / "poems.txt").string());
        IM_CHECK(settings.codec.architecture == "grouped");
        IM_CHECK(settings.codec.part == "kv");
        IM_CHECK_EQ(settings.codec.ratio, 16.0);
    });
    add(harness, "keys_and_values_say_what_they_explain", [](ImGuiTestContext* ctx, Harness& h) {
        ctx->ItemClick("//Latent editor/**/Keys");
        ctx->Yield(4);
        picture_of_all(ctx, h, "keys");
        ctx->ItemClick("//Latent editor/**/Hidden");
    });
    add(harness, "jobs_cancel_and_log_filter", [](ImGuiTestContext* ctx, Harness& h) {
        h.window().shell().show_panel("Jobs and log");
        ctx->Yield(4);
        picture_of_all(ctx, h, "jobs");
        ctx->ItemClick("//Jobs and log/**/job 6/Cancel");
        IM_CHECK_EQ(last<command::CancelJob>(h.submitted()).job, 6);
        ctx->SetRef("//Jobs and log");
        ctx->ItemUncheck("Info");
        ctx->ItemUncheck("Warnings");
        ctx->ItemClick("Copy all");
        const std::string copied = ImGui::GetClipboardText();
        IM_CHECK(copied.find("export failed") != std::string::npos);
        IM_CHECK(copied.find("generated 24") == std::string::npos);
        ctx->ItemCheck("Info");
        ctx->ItemCheck("Warnings");
    });
    add(harness, "every_script_is_drawn_or_escaped", [](ImGuiTestContext* ctx, Harness& h) {
        h.show(scripts_snapshot());
        ctx->Yield(10);
        picture_of_all(ctx, h, "scripts");
        ctx->SetRef(child(ctx, "//Transcript/flow"));
        ctx->ItemClick("token 4");
        IM_CHECK_EQ(last<command::Select>(h.submitted()).token.position, 4);
    });
    add(harness, "large_session_stays_fluent", [](ImGuiTestContext* ctx, Harness& h) {
        h.show(large_snapshot(4000, 2000));
        ctx->Yield(20);
        const auto start = std::chrono::steady_clock::now();
        ctx->Yield(30);
        const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count() / 30;
        ctx->LogInfo("%.1f ms a frame", 1000 * seconds);
        // Software rendering takes most of it; the bound is for machines under load.
        IM_CHECK_LT(seconds, 0.3);
    });
}

}  // namespace

void register_panel_tests(Harness& harness) {
    register_transcript(harness);
    register_marks(harness);
    register_choices(harness);
    register_prompt(harness);
    register_graph(harness);
    register_others(harness);
}

}  // namespace savepoint::test
