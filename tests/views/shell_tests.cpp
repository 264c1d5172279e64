// What is around the panels: layout, menu, palette, dialogs.

#include <imgui_internal.h>

#include <algorithm>
#include <cmath>
#include <filesystem>

#include "tests/views/harness.h"
#include "tests/views/sample_snapshot.h"

namespace savepoint::test {
namespace {

constexpr const char* kPanels[] = {"Transcript",     "Thought graph",
                                   "Trajectory",     "Latent editor",
                                   "Projection",     "Experiments",
                                   "Drift",          "Patching",
                                   "Logit lens",     "Attention",
                                   "Collapse",       "Anomaly",
                                   "Reconstruction", "Rate and distortion",
                                   "Training",       "Model and sidecar",
                                   "Jobs and log",   "Phi"};

template <class Body>
void add(Harness& harness, const char* name, Body body) {
    ImGuiTest* test = IM_REGISTER_TEST(harness.engine(), "shell", name);
    test->TestFunc = [&harness, body](ImGuiTestContext* ctx) {
        harness.show(sample_snapshot());
        ctx->Yield(4);
        body(ctx, harness);
    };
}

std::string empty_folder(const char* name) {
    const std::filesystem::path folder =
        std::filesystem::temp_directory_path() / (std::string("savepoint-views-") + name);
    std::filesystem::remove_all(folder);
    std::filesystem::create_directories(folder);
    return folder.string();
}

// All panels are there, inside the window, and none is squeezed.
void check_layout(ImGuiTestContext* ctx, const char* what) {
    const ImGuiViewport* view = ImGui::GetMainViewport();
    for (const char* title : kPanels) {
        const ImGuiWindow* window = ImGui::FindWindowByName(title);
        IM_CHECK(window != nullptr);
        IM_CHECK(window->DockNode != nullptr);
        const ImRect rect = window->DockNode->Rect();
        ctx->LogInfo("%s, %s: %.0fx%.0f", what, title, rect.GetWidth(), rect.GetHeight());
        IM_CHECK_GE(rect.Min.x, 0.0f);
        IM_CHECK_LE(rect.Max.x, view->Size.x);
        IM_CHECK_LE(rect.Max.y, view->Size.y);
        IM_CHECK_GT(rect.GetWidth(), 340.0f);
        IM_CHECK_GT(rect.GetHeight(), 250.0f);
    }
}

void resize(ImGuiTestContext* ctx, Harness& h, int width, int height) {
    h.window().resize(width, height);
    wait_until(ctx, 3, [&] { return ImGui::GetIO().DisplaySize.x == static_cast<float>(width); });
    ctx->Yield(3);
}

// How often the window's pixels are drawn in a frame, over all: each triangle's area where it is not clipped.
double overdraw() {
    double pixels = 0;
    for (const ImDrawList* list : ImGui::GetDrawData()->CmdLists)
        for (const ImDrawCmd& command : list->CmdBuffer) {
            const double room = std::max(0.0f, command.ClipRect.z - command.ClipRect.x) *
                                std::max(0.0f, command.ClipRect.w - command.ClipRect.y);
            double drawn = 0;
            for (unsigned i = command.IdxOffset; i + 2 < command.IdxOffset + command.ElemCount; i += 3) {
                const auto at = [&](unsigned k) {
                    return list->VtxBuffer[static_cast<int>(command.VtxOffset + list->IdxBuffer[static_cast<int>(k)])]
                        .pos;
                };
                const ImVec2 a = at(i), b = at(i + 1), c = at(i + 2);
                drawn += std::min(0.5 * std::abs((b.x - a.x) * (c.y - a.y) - (c.x - a.x) * (b.y - a.y)), room);
            }
            pixels += drawn;
        }
    return pixels / (ImGui::GetIO().DisplaySize.x * ImGui::GetIO().DisplaySize.y);
}

void register_layout(Harness& harness) {
    // A software renderer pays for every layer: panels lie on cleared ground until they float.
    add(harness, "ground_is_drawn_once", [](ImGuiTestContext* ctx, Harness& h) {
        h.window().shell().reset_layout();
        ctx->Yield(6);
        h.window().shell().show_panel("Jobs and log");
        ctx->Yield(6);
        double drawn = 0;  // what a frame draws is there between its end and the next one's beginning
        ImGuiContextHook hook;
        hook.Type = ImGuiContextHookType_RenderPost;
        hook.UserData = &drawn;
        hook.Callback = [](ImGuiContext*, ImGuiContextHook* self) {
            *static_cast<double*>(self->UserData) = overdraw();
        };
        const ImGuiID id = ImGui::AddContextHook(ImGui::GetCurrentContext(), &hook);
        ctx->Yield(2);
        ImGui::RemoveContextHook(ImGui::GetCurrentContext(), id);
        ctx->LogInfo("overdraw %.2f", drawn);
        IM_CHECK_GT(drawn, 0.1);
        IM_CHECK_LT(drawn, 2.0);
        picture_of_all(ctx, h, "ground");
    });
    add(harness, "panels_keep_their_shares_when_resized", [](ImGuiTestContext* ctx, Harness& h) {
        h.window().shell().reset_layout();
        ctx->Yield(6);
        resize(ctx, h, 1280, 800);
        ctx->Yield(4);
        check_layout(ctx, "made smaller");
        picture_of_all(ctx, h, "resized-1280x800");
        resize(ctx, h, 1600, 900);
        ctx->Yield(4);
        check_layout(ctx, "made larger again");
    });
    add(harness, "layout_resets_at_both_sizes", [](ImGuiTestContext* ctx, Harness& h) {
        for (const ImVec2 size : {ImVec2(1280, 800), ImVec2(1600, 900)}) {
            resize(ctx, h, static_cast<int>(size.x), static_cast<int>(size.y));
            ctx->MenuClick("//##MainMenuBar/View/Anomaly");
            ctx->Yield(2);
            IM_CHECK(!ImGui::FindWindowByName("Anomaly")->Active);
            ctx->MenuClick("//##MainMenuBar/View/Reset layout");
            ctx->Yield(6);
            check_layout(ctx, size.x < 1400 ? "1280x800" : "1600x900");
            picture_of_all(ctx, h, size.x < 1400 ? "layout-1280x800" : "layout-1600x900");
        }
    });
    add(harness, "each_panel_comes_forward", [](ImGuiTestContext* ctx, Harness& h) {
        for (const char* title : kPanels) {
            h.window().shell().show_panel(title);
            ctx->Yield(5);
            const ImGuiWindow* window = ImGui::FindWindowByName(title);
            IM_CHECK(window != nullptr && window->Active && !window->Hidden);
            IM_CHECK_EQ(window->DockNode->SelectedTabId, window->TabId);
            ctx->CaptureReset();
            ImStrncpy(ctx->CaptureArgs->InOutputFile, h.picture(std::string("panel-") + title).c_str(),
                      IM_ARRAYSIZE(ctx->CaptureArgs->InOutputFile));
            ctx->CaptureScreenshotWindow((std::string("//") + title).c_str(), ImGuiCaptureFlags_HideMouseCursor);
        }
    });
    add(harness, "text_size", [](ImGuiTestContext* ctx, Harness& h) {
        const float before = ImGui::GetStyle().FontSizeBase;
        ctx->KeyPress(ImGuiMod_Ctrl | ImGuiKey_Equal);
        ctx->Yield(2);
        IM_CHECK_EQ(h.settings().font_size, before + 1);
        ctx->MenuClick("//##MainMenuBar/View/Default text size");
        ctx->Yield(2);
        IM_CHECK_EQ(h.settings().font_size, app::kDefaultFont);
    });
    add(harness, "choices_are_remembered", [](ImGuiTestContext* ctx, Harness& h) {
        auto snapshot = std::make_shared<Snapshot>(*sample_snapshot());
        snapshot->mark_threshold = 97.5;
        h.show(snapshot);
        h.window().shell().ui().colour = views::TokenColour::attention_mass;
        ctx->Yield(3);
        // A panel that is seen shows attention mass: it is asked for.
        IM_CHECK(last<command::WatchAttentionMass>(h.submitted()).on);
        app::Settings settings = h.settings();
        settings.folder = empty_folder("settings");
        app::save_settings(settings);
        const app::Settings again = app::load_settings(settings.folder);
        IM_CHECK_EQ(again.mark_threshold, 97.5);
        IM_CHECK(again.colour == views::TokenColour::attention_mass);
        app::write_whole_file(settings.folder + "/settings.json", R"({"mark_threshold": 300, "colour": "plaid"})");
        IM_CHECK_EQ(app::load_settings(settings.folder).mark_threshold, kMarkThreshold);
        h.window().shell().ui().colour = views::TokenColour::log_probability;
        ctx->Yield(2);
    });
    add(harness, "memory_limit_is_set", [](ImGuiTestContext* ctx, Harness& h) {
        ctx->ItemClick("//##Status/###states");
        ctx->Yield(3);
        picture_of_all(ctx, h, "memory");
        ctx->SetRef("//Memory for states");
        ctx->ItemInputValue("GB##limit", 2.5f);
        ctx->ItemClick("Apply");
        IM_CHECK_EQ(count<command::SetMemoryBudget>(h.submitted()), 1);
        IM_CHECK_EQ(last<command::SetMemoryBudget>(h.submitted()).bytes, 2'500'000'000);
        IM_CHECK_EQ(h.settings().memory_budget, 2'500'000'000);
        h.settings().memory_budget = -1;
    });
    add(harness, "selection_keeps_its_position_across_branches", [](ImGuiTestContext* ctx, Harness& h) {
        auto other = sample_snapshot();
        other->current = 4;  // another branch of the same root: what is selected is not on its path
        other->selected = {3, 40};
        auto path = std::make_shared<PathView>(*other->path);
        path->thought = 4;
        auto token = std::make_shared<TokenView>(*path->tokens[40]);
        token->thought = 4;
        path->tokens[40] = token;
        other->path = path;
        h.show(other);
        ctx->Yield(3);
        IM_CHECK_EQ(count<command::Select>(h.submitted()), 1);
        IM_CHECK(last<command::Select>(h.submitted()).token == (TokenRef{4, 40}));
    });
    add(harness, "token_of_another_path_leads_there", [](ImGuiTestContext* ctx, Harness& h) {
        auto other = sample_snapshot();
        other->selected = {7, 10};
        h.show(other);
        h.window().shell().show_panel("Latent editor");
        ctx->Yield(3);
        picture_of_all(ctx, h, "other-path");
        ctx->ItemClick("//Latent editor/Make it current");
        IM_CHECK_EQ(last<command::SetCurrent>(h.submitted()).thought, 7);
    });
    add(harness, "tour_ticks_off", [](ImGuiTestContext* ctx, Harness& h) {
        ctx->MenuClick("//##MainMenuBar/Help/Two-minute tour");
        ctx->Yield(3);
        IM_CHECK(ImGui::FindWindowByName("Two-minute tour")->Active);
        picture_of_all(ctx, h, "tour");
        ctx->WindowClose("//Two-minute tour");
    });
}

void register_dialogs(Harness& harness) {
    add(harness, "palette_finds_and_runs", [](ImGuiTestContext* ctx, Harness& h) {
        ctx->KeyPress(ImGuiMod_Ctrl | ImGuiKey_P);
        ctx->Yield(3);
        picture_of_all(ctx, h, "palette");
        ctx->KeyChars("colour anom");
        ctx->KeyPress(ImGuiKey_Enter);
        ctx->Yield(3);
        IM_CHECK(h.window().shell().ui().colour == views::TokenColour::anomaly);
        h.window().shell().ui().colour = views::TokenColour::log_probability;
    });
    add(harness, "save_as_asks_for_a_folder", [](ImGuiTestContext* ctx, Harness& h) {
        const std::string folder = empty_folder("save");
        auto unsaved = sample_snapshot();
        unsaved->session.folder.clear();
        h.show(unsaved);
        ctx->Yield(2);
        ctx->KeyPress(ImGuiMod_Ctrl | ImGuiKey_S);
        ctx->Yield(3);
        ctx->SetRef("//Save session");
        ctx->ItemInput("##folder");
        ctx->KeyCharsReplaceEnter(folder.c_str());
        picture_of_all(ctx, h, "save-dialog");
        ctx->ItemInput("##name");
        ctx->KeyCharsReplace("mine");
        ctx->ItemClick("###accept");
        IM_CHECK_EQ(count<command::SaveSession>(h.submitted()), 1);
        const auto saved = last<command::SaveSession>(h.submitted());
        IM_CHECK_STR_EQ(saved.folder.c_str(), (folder + "/mine.savepoint").c_str());
        IM_CHECK(saved.view.find("layout") != std::string::npos);
        IM_CHECK(saved.exact_rows);
    });
    add(harness, "sessions_without_exact_states", [](ImGuiTestContext* ctx, Harness& h) {
        auto named = sample_snapshot();
        named->session.folder = empty_folder("small") + "/a.savepoint";
        h.show(named);
        ctx->Yield(2);
        ctx->MenuClick("//##MainMenuBar/File/Save exact keys and values");
        IM_CHECK(!h.settings().exact_sessions);
        ctx->KeyPress(ImGuiMod_Ctrl | ImGuiKey_S);
        ctx->Yield(3);
        IM_CHECK(!last<command::SaveSession>(h.submitted()).exact_rows);
        app::Settings settings = h.settings();
        settings.folder = empty_folder("settings-exact");
        app::save_settings(settings);
        IM_CHECK(!app::load_settings(settings.folder).exact_sessions);
        h.settings().exact_sessions = true;
    });
    add(harness, "open_by_double_click", [](ImGuiTestContext* ctx, Harness& h) {
        const std::string folder = empty_folder("open");
        std::filesystem::create_directories(folder + "/inner/found.savepoint");
        auto clean = sample_snapshot();
        clean->session.modified = false;
        h.show(clean);
        ctx->Yield(2);
        ctx->MenuClick("//##MainMenuBar/File/Open...");
        ctx->SetRef("//Open session");
        ctx->ItemInput("##folder");
        ctx->KeyCharsReplaceEnter(folder.c_str());
        IM_CHECK(wait_until(ctx, 5, [&] { return ctx->ItemExists("//Open session/**/###inner"); }));
        ctx->ItemDoubleClick("//Open session/**/###inner");
        IM_CHECK(wait_until(ctx, 5, [&] { return ctx->ItemExists("//Open session/**/###found.savepoint"); }));
        ctx->ItemDoubleClick("//Open session/**/###found.savepoint");
        IM_CHECK_EQ(count<command::OpenSession>(h.submitted()), 1);
        const auto opened = last<command::OpenSession>(h.submitted());
        IM_CHECK_STR_EQ(opened.folder.c_str(), (folder + "/inner/found.savepoint").c_str());
    });
    add(harness, "unsaved_changes_are_asked_about", [](ImGuiTestContext* ctx, Harness& h) {
        ctx->MenuClick("//##MainMenuBar/File/New session");
        ctx->Yield(3);
        picture_of_all(ctx, h, "unsaved");
        ctx->ItemClick("//Unsaved changes/Cancel");
        IM_CHECK_EQ(count<command::NewSession>(h.submitted()), 0);
        ctx->KeyPress(ImGuiMod_Ctrl | ImGuiKey_Q);
        ctx->Yield(3);
        IM_CHECK(!h.window().done());
        ctx->ItemClick("//Unsaved changes/Cancel");
        ctx->MenuClick("//##MainMenuBar/File/New session");
        ctx->ItemClick("//Unsaved changes/Don't save");
        IM_CHECK_EQ(count<command::NewSession>(h.submitted()), 1);
    });
    add(harness, "errors_show_and_are_dismissed", [](ImGuiTestContext* ctx, Harness& h) {
        auto failed = sample_snapshot();
        failed->errors.push_back(
            {41, "Cannot save the session",
             "/mnt/nas/a.savepoint: the folder is read-only. Choose another folder with File > Save as."});
        h.show(failed);
        ctx->Yield(4);
        picture_of_all(ctx, h, "error");
        ctx->ItemClick("//Something went wrong/Dismiss");
        IM_CHECK_EQ(count<command::DismissError>(h.submitted()), 1);
        IM_CHECK_EQ(last<command::DismissError>(h.submitted()).error, 41);
    });
}

}  // namespace

void register_shell_tests(Harness& harness) {
    register_layout(harness);
    register_dialogs(harness);
}

}  // namespace savepoint::test
