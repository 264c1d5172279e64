// The whole program: a real model, a real sidecar, driven by typing, clicking and dragging. The tour is what a new
// user does in the first two minutes; what it saved is opened again by another window and another workbench.

#include <imgui_internal.h>

#include <cmath>
#include <cstdlib>
#include <filesystem>

#include "tests/views/harness.h"
#include "tests/views/program.h"
#include "tests/views/sample_snapshot.h"

namespace savepoint::test {
namespace {

std::string session_folder() { return (std::filesystem::temp_directory_path() / "savepoint-views-tour").string(); }

// What the session held when it was saved, for comparison.
struct Saved {
    std::shared_ptr<const Snapshot> snapshot;
};
Saved& saved() {
    static Saved it;
    return it;
}

ThoughtView thought(const Snapshot& s, ThoughtId id) {
    for (const ThoughtView& t : s.graph->thoughts)
        if (t.id == id) return t;
    return {};
}

std::string text_of(const Snapshot& s) {
    std::string text;
    for (const auto& token : s.path->tokens) text += token->text;
    return text;
}

void register_small(Harness& harness) {
    add_program_test(harness, "empty_prompt_is_an_error_dialog", [](ImGuiTestContext* ctx, Harness& h) {
        type_prompt(ctx, "");
        ctx->ItemClick("Raw text");
        ctx->ItemClick("Generate");
        IM_CHECK(wait_until(ctx, 20, [&] { return !h.snapshot()->errors.empty(); }));
        ctx->Yield(4);
        picture_of_all(ctx, h, "program-error");
        ctx->ItemClick("//Something went wrong/Dismiss");
        IM_CHECK(wait_until(ctx, 20, [&] { return h.snapshot()->errors.empty(); }));
        ctx->ItemClick("//Transcript/Chat");
    });
    add_program_test(harness, "stop_ends_generation", [](ImGuiTestContext* ctx, Harness& h) {
        set_length(ctx, 400);
        type_prompt(ctx, "Write a long story about a lighthouse.");
        ctx->ItemClick("Generate");
        IM_CHECK(wait_until(ctx, 60, [&] {
            return h.snapshot()->status.generating && h.snapshot()->path && first_generated(*h.snapshot()) > 0;
        }));
        ctx->ItemClick("//Transcript/Stop");
        IM_CHECK(wait_until(ctx, 20, [&] { return settled(*h.snapshot()); }));
        const int64_t count = static_cast<int64_t>(h.snapshot()->path->tokens.size()) - first_generated(*h.snapshot());
        IM_CHECK_LT(count, 400);
        IM_CHECK_GT(count, 0);
    });
    add_program_test(harness, "rename_and_bookmark", [](ImGuiTestContext* ctx, Harness& h) {
        const ThoughtId id = h.snapshot()->current;
        IM_CHECK_GT(id, 0);
        const std::string card = "thought " + std::to_string(id);
        h.window().shell().ui().request_fit_graph = true;
        ctx->Yield(40);
        ctx->SetRef(child(ctx, "//Thought graph/canvas"));
        ctx->ItemClick(card.c_str(), ImGuiMouseButton_Right);
        ctx->ItemClick("//$FOCUSED/Rename...");
        ctx->KeyCharsReplaceEnter("lighthouse");
        IM_CHECK(wait_until(ctx, 20, [&] { return thought(*h.snapshot(), id).label == "lighthouse"; }));
        ctx->ItemClick(card.c_str(), ImGuiMouseButton_Right);
        ctx->ItemClick("//$FOCUSED/Bookmark");
        IM_CHECK(wait_until(ctx, 20, [&] { return thought(*h.snapshot(), id).bookmarked; }));
        ctx->MenuClick("//##MainMenuBar/File/New session");
        ctx->ItemClick("//Unsaved changes/Don't save");
        IM_CHECK(wait_until(ctx, 20, [&] { return h.snapshot()->graph->thoughts.empty(); }));
    });
}

// -- kept as z ---------------------------------------------------------------------------------------------------

const ThoughtView* decoded(const Snapshot& s) {
    for (const ThoughtView& t : s.graph->thoughts)
        if (t.edge == EdgeKind::decoded) return &t;
    return nullptr;
}

std::vector<TokenId> ids_of(const Snapshot& s) {
    std::vector<TokenId> ids;
    for (const auto& token : s.path->tokens) ids.push_back(token->id);
    return ids;
}

void register_kept_as_z(Harness& harness) {
    add_program_test(harness, "keep_as_z_and_resume", [](ImGuiTestContext* ctx, Harness& h) {
        generate(ctx, h, "What do gulls eat in winter?", 24);
        IM_CHECK(wait_until(ctx, kPatience, [&] { return h.snapshot()->sidecar->phase == Phase::ready; }));
        const ThoughtId exact = h.snapshot()->current;
        const std::vector<TokenId> ids = ids_of(*h.snapshot());
        h.window().shell().ui().request_fit_graph = true;
        ctx->Yield(40);
        ctx->SetRef(child(ctx, "//Thought graph/canvas"));
        ctx->ItemClick(("thought " + std::to_string(exact)).c_str(), ImGuiMouseButton_Right);
        ctx->ItemClick("//$FOCUSED/Keep as z");
        ctx->Yield(4);
        picture_of_all(ctx, h, "keep-as-z-menu");
        ctx->ItemClick("//###Menu_00/###by the sidecar");
        IM_CHECK(wait_until(ctx, 60, [&] { return decoded(*h.snapshot()) && settled(*h.snapshot()); }));
        const ThoughtView kept = *decoded(*h.snapshot());
        IM_CHECK_EQ(h.snapshot()->current, kept.id);
        IM_CHECK(ids_of(*h.snapshot()) == ids);
        IM_CHECK_GT(kept.fp16_bytes, 10 * static_cast<double>(kept.z_bytes));
        IM_CHECK(kept.kl_next >= 0 && kept.kl_next < 0.2);

        set_length(ctx, 6);
        ctx->ItemClick("//Transcript/Continue");
        IM_CHECK(wait_until(ctx, 60, [&] {
            const auto s = h.snapshot();
            return settled(*s) && s->current != kept.id && s->path->tokens.size() >= ids.size() + 1;
        }));
        IM_CHECK_EQ(h.snapshot()->graph->thoughts.back().parent, kept.id);
        const std::vector<TokenId> said = ids_of(*h.snapshot());
        h.window().shell().ui().request_fit_graph = true;
        IM_CHECK(wait_until(ctx, 120, [&] { return !h.snapshot()->status.busy; }));
        ctx->Yield(40);
        picture_of_all(ctx, h, "kept-as-z");
        ctx->SetRef(child(ctx, "//Thought graph/canvas"));
        ctx->MouseMove(("thought " + std::to_string(kept.id)).c_str());
        ctx->SleepNoSkip(1, 0.1f);
        picture_of_all(ctx, h, "kept-as-z-card");
        ctx->SetRef(child(ctx, "//Transcript/flow"));
        ctx->MouseMove("token 40");
        ctx->SleepNoSkip(1, 0.1f);
        picture_of_all(ctx, h, "kept-as-z-token");
        ctx->MenuAction(ImGuiTestAction_Open, "//##MainMenuBar/File");
        ctx->Yield(4);
        picture_of_all(ctx, h, "kept-as-z-file");
        ctx->PopupCloseAll();

        // In a file of its own, and gone on from in another session.
        const auto folder = std::filesystem::temp_directory_path() / "savepoint-views-z";
        std::filesystem::remove_all(folder);
        std::filesystem::create_directories(folder);
        ctx->KeyPress(ImGuiMod_Ctrl | ImGuiKey_Z);
        IM_CHECK(wait_until(ctx, 20, [&] { return h.snapshot()->current == kept.id; }));
        ctx->MenuClick("//##MainMenuBar/File/Export/z of a thought that is kept as z (safetensors)");
        choose_file(ctx, "//Export", folder.string(), "gulls.safetensors");
        const auto file = folder / "gulls.safetensors";
        IM_CHECK(wait_until(ctx, 20, [&] { return std::filesystem::exists(file); }));
        IM_CHECK_LT(std::filesystem::file_size(file), static_cast<uintmax_t>(kept.z_bytes) + 2048);
        discard_session(ctx, h);
        ctx->MenuClick("//##MainMenuBar/File/Resume from z...");
        choose_file(ctx, "//Resume from z", folder.string(), "gulls.safetensors");
        IM_CHECK(wait_until(ctx, 60, [&] { return decoded(*h.snapshot()) && settled(*h.snapshot()); }));
        IM_CHECK(ids_of(*h.snapshot()) == ids);
        ctx->ItemClick("//Transcript/Continue");
        IM_CHECK(wait_until(
            ctx, 60, [&] { return settled(*h.snapshot()) && h.snapshot()->path->tokens.size() == said.size(); }));
        IM_CHECK(ids_of(*h.snapshot()) == said);
        check_no_errors(h);
        discard_session(ctx, h);
    });
}

// -- the tour ----------------------------------------------------------------------------------------------------

void type_and_stream(ImGuiTestContext* ctx, Harness& h) {
    set_length(ctx, 24);
    type_prompt(ctx, "Why is the sky blue?");
    ctx->ItemClick("Generate");
    size_t seen = 0, steps = 0;
    const bool done = wait_until(ctx, 120, [&] {
        const auto s = h.snapshot();
        const size_t now = s->path ? s->path->tokens.size() : 0;
        steps += now > seen;
        seen = now;
        return settled(*s) && first_generated(*s) > 0 && s->status.tokens_per_second > 0;
    });
    IM_CHECK(done);
    IM_CHECK_GE(steps, 3u);  // it streamed: seen with its prompt alone or in part before it was whole
    IM_CHECK_LE(static_cast<int64_t>(h.snapshot()->path->tokens.size()) - first_generated(*h.snapshot()), 24);
    IM_CHECK_EQ(h.snapshot()->graph->thoughts.size(), 1u);
    picture_of_all(ctx, h, "tour-1-streamed");
}

void click_a_token(ImGuiTestContext* ctx, Harness& h, int64_t position) {
    ctx->SetRef(child(ctx, "//Transcript/flow"));
    ctx->ItemClick(("token " + std::to_string(position)).c_str());
    IM_CHECK(wait_until(ctx, 30, [&] { return h.snapshot()->selected.position == position; }));
    const auto token = h.snapshot()->path->tokens[position];
    IM_CHECK_EQ(token->next.size(), 10u);
    IM_CHECK(std::isfinite(token->log_probability));
}

void see_the_analyses(ImGuiTestContext* ctx, Harness& h) {
    IM_CHECK(wait_until(ctx, kPatience, [&] { return h.snapshot()->sidecar->phase == Phase::ready; }));
    ctx->SetRef("//Transcript");
    ctx->ComboClick("##colour/Anomaly");
    h.window().shell().show_panel("Anomaly");
    IM_CHECK(wait_until(ctx, 120, [&] {
        const auto a = h.snapshot()->anomaly;
        return a && a->tokens == static_cast<int64_t>(h.snapshot()->path->tokens.size()) && a->scored == a->tokens;
    }));
    const auto anomaly = h.snapshot()->anomaly;
    IM_CHECK_EQ(anomaly->layers, h.snapshot()->model->layers);
    IM_CHECK_EQ(static_cast<int64_t>(anomaly->percentile.size()), anomaly->tokens * anomaly->layers * anomaly->heads);
    picture_of_all(ctx, h, "tour-2-anomaly");
    IM_CHECK(
        wait_until(ctx, 120, [&] { return h.snapshot()->trajectory && !h.snapshot()->trajectory->points.empty(); }));
    h.window().shell().show_panel("Reconstruction");
    IM_CHECK(wait_until(
        ctx, 120, [&] { return h.snapshot()->reconstruction && !h.snapshot()->reconstruction->hidden_fvu.empty(); }));
    IM_CHECK_GT(h.snapshot()->reconstruction->bytes_per_token, 0);
    picture_of_all(ctx, h, "tour-3-reconstruction");
}

void drag_a_slider(ImGuiTestContext* ctx, Harness& h, int64_t position) {
    click_a_token(ctx, h, position);
    IM_CHECK(
        wait_until(ctx, 60, [&] { return h.snapshot()->latent && h.snapshot()->latent->token.position == position; }));
    const std::string slider = "//Latent editor/**/0/##z";
    IM_CHECK(wait_until(ctx, 20, [&] { return ctx->ItemExists(slider.c_str()); }));
    ctx->MouseMove(slider.c_str());
    const ImRect rect = ctx->ItemInfo(slider.c_str()).RectFull;
    ctx->MouseDown();
    ctx->MouseMoveToPos({rect.Max.x - 0.12f * rect.GetWidth(), rect.GetCenter().y});
    IM_CHECK(wait_until(ctx, 60, [&] { return h.snapshot()->preview && !h.snapshot()->preview->edits.empty(); }));
    ctx->MouseMoveToPos({rect.Min.x + 0.06f * rect.GetWidth(), rect.GetCenter().y});
    ctx->MouseUp();
    // The preview follows the slider, to where it was let go.
    IM_CHECK(wait_until(ctx, 60, [&] {
        const auto s = h.snapshot();
        return s->preview && s->preview->edits == h.window().shell().ui().edits && s->preview->edits[0].amount < 0;
    }));
    const auto preview = h.snapshot()->preview;
    IM_CHECK_GT(preview->kl_edited, 0);
    IM_CHECK(preview->rows.size() >= 10);
    picture_of_all(ctx, h, "tour-4-edit");
}

void resume_as_a_branch(ImGuiTestContext* ctx, Harness& h, int64_t position) {
    const size_t before = h.snapshot()->graph->thoughts.size();
    const ThoughtId parent = h.snapshot()->current;
    ctx->ItemClick("//Latent editor/Resume from here");
    IM_CHECK(wait_until(ctx, 120,
                        [&] { return h.snapshot()->graph->thoughts.size() == before + 1 && settled(*h.snapshot()); }));
    const ThoughtView branch = h.snapshot()->graph->thoughts.back();
    IM_CHECK(branch.edge == EdgeKind::intervention);
    IM_CHECK_EQ(branch.parent, parent);
    IM_CHECK_GT(branch.tokens, 0);
    // The same position is selected on the branch: its latent is there to compare.
    IM_CHECK(wait_until(ctx, 60, [&] {
        const auto s = h.snapshot();
        return s->selected == TokenRef{branch.id, position} && s->latent && s->latent->token == s->selected;
    }));
    picture_of_all(ctx, h, "tour-5-branch");
}

void save_by_dialog(ImGuiTestContext* ctx, Harness& h) {
    std::filesystem::remove_all(session_folder());
    std::filesystem::create_directories(session_folder());
    ctx->KeyPress(ImGuiMod_Ctrl | ImGuiKey_S);
    choose_file(ctx, "//Save session", session_folder(), "tour");
    IM_CHECK(
        wait_until(ctx, 60, [&] { return !h.snapshot()->session.modified && !h.snapshot()->session.folder.empty(); }));
    IM_CHECK(std::filesystem::exists(session_folder() + "/tour.savepoint/manifest.json"));
    saved().snapshot = h.snapshot();
}

void register_tour(Harness& harness) {
    add_program_test(harness, "tour", [](ImGuiTestContext* ctx, Harness& h) {
        type_and_stream(ctx, h);
        if (ctx->IsError()) return;
        const int64_t position = first_generated(*h.snapshot()) + 2;
        click_a_token(ctx, h, position);
        see_the_analyses(ctx, h);
        if (ctx->IsError()) return;
        drag_a_slider(ctx, h, position);
        resume_as_a_branch(ctx, h, position);
        if (ctx->IsError()) return;
        save_by_dialog(ctx, h);
        check_no_errors(h);
        ctx->KeyPress(ImGuiMod_Ctrl | ImGuiKey_Q);
        ctx->Yield(4);
        IM_CHECK(h.window().done());
    });
}

}  // namespace

void register_workbench_tests(Harness& harness) {
    register_small(harness);
    register_kept_as_z(harness);
    register_tour(harness);
}

// The picture in the README: what a user has in front of them who has made a branch and is about to make another.
void register_portrait(Harness& harness, const std::string& name) {
    workbench(harness, true);
    add_program_test(harness, "portrait", [name](ImGuiTestContext* ctx, Harness& h) {
        set_length(ctx, 56);
        type_prompt(ctx, "Why does the sea look blue?");
        ctx->ItemClick("Generate");
        IM_CHECK(wait_until(ctx, 120, [&] { return settled(*h.snapshot()) && first_generated(*h.snapshot()) > 0; }));
        const int64_t start = first_generated(*h.snapshot());
        const ThoughtId root = h.snapshot()->current;
        for (const int64_t position : {start + 4, start + 12}) {
            drag_a_slider(ctx, h, position);
            if (ctx->IsError()) return;
            resume_as_a_branch(ctx, h, position);
            if (position != start + 4) break;
            ctx->KeyPress(ImGuiMod_Ctrl | ImGuiKey_Z);
            IM_CHECK(wait_until(ctx, 20, [&] { return h.snapshot()->current == root; }));
        }
        IM_CHECK(wait_until(ctx, 120, [&] { return !h.snapshot()->status.busy; }));
        drag_a_slider(ctx, h, start + 20);
        h.window().shell().show_panel("Anomaly");
        save_by_dialog(ctx, h);
        const ImVec2 size = ImGui::GetIO().DisplaySize;
        ctx->MouseMoveToPos({0.75f * size.x, size.y - 8});  // where nothing has a tooltip
        IM_CHECK(wait_until(ctx, 120, [&] { return h.snapshot()->anomaly && !h.snapshot()->status.busy; }));
        ctx->Yield(30);
        picture_of_all(ctx, h, name);
    });
}

// A file of one's own, four clicks: choose it, the kind of networks, Train. Smaller than the settings would have it.
void register_training(Harness& harness) {
    workbench(harness, true);
    add_program_test(harness, "train_on_a_text_file", [](ImGuiTestContext* ctx, Harness& h) {
        const std::filesystem::path folder = std::filesystem::temp_directory_path() / "savepoint-views-train";
        std::filesystem::create_directories(folder);
        std::filesystem::copy_file("/usr/share/games/fortunes/science", folder / "science.txt",
                                   std::filesystem::copy_options::overwrite_existing);
        IM_CHECK(wait_until(ctx, kPatience, [&] { return !h.snapshot()->status.busy; }));
        h.window().shell().show_panel("Training");
        ctx->Yield(4);
        ctx->SetRef("//Training");
        ctx->ItemClick("Choose a text file");
        choose_file(ctx, "//Choose a text", folder.string(), "science.txt");
        ctx->SetRef("//Training");
        ctx->ItemClick("Grouped");
        ctx->ItemClick("More settings");
        ctx->ItemInputValue("tokens", 2560);
        ctx->ItemInputValue("rounds", 2);
        const auto look = [&](const char* name) {
            const ImVec2 size = ImGui::GetIO().DisplaySize;
            ctx->MouseMoveToPos({0.2f * size.x, 0.2f * size.y});  // where nothing has a tooltip
            ctx->Yield(4);
            picture_of_all(ctx, h, name);
        };
        look("train-settings");
        ctx->ItemClick("Train");
        IM_CHECK(wait_until(ctx, 2 * kPatience,
                            [&] { return h.snapshot()->training && !h.snapshot()->training->curve.empty(); }));
        look("train-running");
        IM_CHECK(wait_until(ctx, 2 * kPatience, [&] { return h.snapshot()->training->phase != Phase::working; }));
        const auto view = h.snapshot()->training;
        IM_CHECK(view->phase == Phase::ready);
        IM_CHECK_EQ(view->settings.corpus, (folder / "science.txt").string());
        IM_CHECK_EQ(view->curve.size(), size_t{2});
        IM_CHECK_EQ(view->codecs.size(), size_t{4});  // transforms of three rates, and what was trained
        IM_CHECK(view->codecs.back().kind == "learned");
        IM_CHECK(view->against_transform > 0.5 && view->against_transform < 2);
        IM_CHECK(std::filesystem::exists(view->file));
        look("train-judged");
        check_no_errors(h);
    });
}

// In a fresh window over a fresh workbench.
void register_reopening_tests(Harness& harness) {
    workbench(harness, true);
    add_program_test(harness, "reopened", [](ImGuiTestContext* ctx, Harness& h) {
        const auto before = saved().snapshot;
        IM_CHECK(before != nullptr);
        ctx->MenuClick("//##MainMenuBar/File/Open...");
        ctx->SetRef("//Open session");
        ctx->ItemInput("##folder");
        ctx->KeyCharsReplaceEnter(session_folder().c_str());
        IM_CHECK(wait_until(ctx, 10, [&] { return ctx->ItemExists("//Open session/**/###tour.savepoint"); }));
        ctx->ItemDoubleClick("//Open session/**/###tour.savepoint");
        IM_CHECK(wait_until(ctx, 60, [&] {
            return h.snapshot()->graph->thoughts.size() == before->graph->thoughts.size() && h.snapshot()->path;
        }));
        IM_CHECK_EQ(h.snapshot()->current, before->current);
        IM_CHECK_STR_EQ(text_of(*h.snapshot()).c_str(), text_of(*before).c_str());
        IM_CHECK(!h.snapshot()->session.modified);
        IM_CHECK(h.window().shell().ui().colour == views::TokenColour::anomaly);
        const auto graph = h.snapshot()->graph;
        for (size_t i = 0; i < before->graph->thoughts.size(); ++i) {
            const ThoughtView &a = before->graph->thoughts[i], &b = graph->thoughts[i];
            IM_CHECK_EQ(a.id, b.id);
            IM_CHECK(a.edge == b.edge);
            IM_CHECK_STR_EQ(a.detail.c_str(), b.detail.c_str());
            IM_CHECK_EQ(a.tokens, b.tokens);
        }
        // The selected token too, with its latent in the editor as soon as its hidden states are back.
        IM_CHECK_GE(before->selected.position, 0);
        IM_CHECK(h.snapshot()->selected == before->selected);
        IM_CHECK(wait_until(ctx, kPatience,
                            [&] { return h.snapshot()->latent && h.snapshot()->latent->token == before->selected; }));
        ctx->Yield(10);
        IM_CHECK(ctx->ItemExists("//Latent editor/**/0/##z"));
        picture_of_all(ctx, h, "tour-6-reopened");
        // And it goes on from there.
        const auto count = h.snapshot()->graph->thoughts.size();
        set_length(ctx, 4);
        ctx->ItemClick("//Transcript/Continue");
        IM_CHECK(wait_until(
            ctx, 120, [&] { return h.snapshot()->graph->thoughts.size() == count + 1 && settled(*h.snapshot()); }));
        check_no_errors(h);
    });
}

}  // namespace savepoint::test
