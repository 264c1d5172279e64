// From two thoughts that part to the place that decides: drift, then patching, over a real model.

#include <imgui_internal.h>

#include <cmath>
#include <optional>

#include "tests/views/program.h"
#include "tests/views/selection_marks.h"

namespace savepoint::test {
namespace {

// Clicks the middle of a cell of a layer map that fills its item.
void click_cell(ImGuiTestContext* ctx, const char* item, float x, float y) {
    ctx->MouseMove(item);
    const ImRect rect = ctx->ItemInfo(item).RectFull;
    ctx->MouseMoveToPos({rect.Min.x + x * rect.GetWidth(), rect.Min.y + y * rect.GetHeight()});
    ctx->MouseClick();
}

void two_capitals(ImGuiTestContext* ctx, Harness& h) {
    generate_raw(ctx, h, "The capital of France is the city of", 6);
    generate_raw(ctx, h, "The capital of Germany is the city of", 6);
}

void compare(ImGuiTestContext* ctx, Harness& h) {
    h.window().shell().show_panel("Drift");
    ctx->Yield(4);
    ctx->ItemClick("//Drift/Compare");
    IM_CHECK(wait_until(ctx, 300, [&] {
        const auto drift = h.snapshot()->drift;
        return drift && drift->state == CausalState::done;
    }));
    ctx->Yield(4);
    picture_of_all(ctx, h, "drift-hidden");
}

// Every part has its map, and the mark leads to the token after the word that was changed.
void look_at_drift(ImGuiTestContext* ctx, Harness& h) {
    const auto drift = h.snapshot()->drift;
    IM_CHECK_GE(drift->maps.size(), 4u);
    IM_CHECK(drift->maps[0]->first.has_value());
    const int64_t pair = drift->maps[0]->first->pair;
    IM_CHECK_EQ(pair, drift->runs->shared + 1);
    ctx->ItemClick("//Drift/###first");
    IM_CHECK(wait_until(
        ctx, 20, [&] { return h.snapshot()->selected.position == drift->runs->pairs[static_cast<size_t>(pair)].b; }));
    // The states by another phi; everything else stays as it was.
    ctx->ItemClick("//Drift/##phi");
    ctx->ItemClick("//$FOCUSED/exp");
    ctx->ItemCheck("//Drift/after rotary");
    ctx->ItemClick("//Drift/Compare");
    IM_CHECK(wait_until(ctx, 300, [&] {
        const auto again = h.snapshot()->drift;
        return again->state == CausalState::done && again->settings.phi.kind == PhiKind::exp &&
               again->settings.phi.rotary;
    }));
    IM_CHECK(h.snapshot()->drift->maps[3]->distance != drift->maps[3]->distance);
    IM_CHECK(h.snapshot()->drift->maps[0]->distance == drift->maps[0]->distance);
    for (const char* part : {"Values", "Linear state", "Hidden"}) {
        ctx->ItemClick((std::string("//Drift/part/") + part).c_str());
        ctx->Yield(2);
        if (std::string(part) == "Linear state") picture_of_all(ctx, h, "drift-state");
    }
    click_cell(ctx, "//Drift/map", 0.97f, 0.5f);
    IM_CHECK(wait_until(ctx, 20, [&] { return h.snapshot()->selected.position == drift->runs->pairs.back().b; }));
}

// A click on a head asks for its layer's heads token by token; the combo for another layer. What is there stays.
void look_at_heads_by_token(ImGuiTestContext* ctx, Harness& h) {
    const auto of_layer = [&](int64_t layer) -> std::optional<PatchScores> {
        const auto patch = h.snapshot()->patch;
        for (const PatchScores& scores : patch->maps)
            if (scores.head_layer == layer) return scores;
        return {};
    };
    click_cell(ctx, "//Patching/heads", 0.5f, 0.5f);
    IM_CHECK(wait_until(ctx, 120, [&] {
        return h.snapshot()->patch->state == CausalState::done && h.snapshot()->patch->maps.size() == 5;
    }));
    ctx->ItemClick("//Patching/##headlayer");
    ctx->ItemClick("//$FOCUSED/layer 23 by token");
    IM_CHECK(wait_until(ctx, 120, [&] { return h.snapshot()->patch->state == CausalState::done && of_layer(23); }));
    const PatchScores heads = *of_layer(23);
    IM_CHECK_EQ(heads.rows, 9);
    IM_CHECK_EQ(heads.columns, h.snapshot()->patch->usable_pairs);
    // Head 4 brings the country to the last token (README).
    const auto last = static_cast<size_t>(4 * heads.columns + heads.columns - 1);
    IM_CHECK_GT(recovered(*h.snapshot()->patch, heads.logit_difference[last]), 0.5f);
    ctx->Yield(3);
    picture_of_all(ctx, h, "patching-heads-by-token");
}

void find_the_cause(ImGuiTestContext* ctx, Harness& h) {
    ctx->ItemClick("//Drift/Find the cause");
    IM_CHECK(wait_until(ctx, 60, [&] { return h.snapshot()->patch && ctx->ItemExists("//Patching/Patch"); }));
    IM_CHECK(wait_until(ctx, 300, [&] { return h.snapshot()->patch->state == CausalState::done; }));
    ctx->Yield(4);
    picture_of_all(ctx, h, "patching-residual");
    const auto patch = h.snapshot()->patch;
    IM_CHECK_STR_EQ(patch->target.c_str(), " Paris");
    IM_CHECK_STR_EQ(patch->distractor.c_str(), " Berlin");
    IM_CHECK_EQ(patch->maps.size(), 4u);
    const PatchScores& resid = patch->maps[0];
    const auto share = [&](int64_t layer, int64_t pair) {
        return recovered(*patch, resid.logit_difference[static_cast<size_t>(layer * resid.columns + pair)]);
    };
    IM_CHECK_GT(share(0, patch->runs->shared), 0.8f);
    IM_CHECK_GT(share(resid.rows - 1, resid.columns - 1), 0.99f);
    for (const char* site : {"Attention", "Heads"}) {
        ctx->ItemClick((std::string("//Patching/site/") + site).c_str());
        ctx->Yield(2);
        picture_of_all(ctx, h, (std::string("patching-") + site).c_str());
    }
    look_at_heads_by_token(ctx, h);
    ctx->ItemClick("//Patching/measure/KL");
    ctx->ItemClick("//Patching/site/Residual");
    click_cell(ctx, "//Patching/cells", 0.97f, 0.2f);
    IM_CHECK(wait_until(ctx, 20, [&] {
        return h.snapshot()->selected.position == patch->runs->pairs[static_cast<size_t>(patch->usable_pairs - 1)].b;
    }));
    picture_of_all(ctx, h, "patching-kl");
}

// A second map, of an outcome that the user chose, stopped halfway: what was patched stays.
void patch_here_and_cancel(ImGuiTestContext* ctx, Harness& h) {
    ctx->ItemClick("//Patching/measure/Recovered");
    ctx->ItemCheck("//Patching/outcome after the selected token");
    ctx->ItemClick("//Patching/##target");
    ctx->ItemClick(("//$FOCUSED/###" + std::to_string(h.snapshot()->path->tokens[7]->next[1].id)).c_str());
    ctx->ItemClick("//Patching/Patch");
    IM_CHECK(wait_until(ctx, 120, [&] {
        return h.snapshot()->patch->state == CausalState::running && h.snapshot()->patch->cells_run > 10;
    }));
    ctx->ItemClick("//Patching/Cancel");
    IM_CHECK(wait_until(ctx, 60, [&] { return h.snapshot()->patch->state == CausalState::cancelled; }));
    IM_CHECK_EQ(h.snapshot()->patch->request.target, h.snapshot()->path->tokens[7]->next[1].id);
    IM_CHECK_GT(h.snapshot()->patch->cells_run, 10);
    ctx->Yield(3);
    picture_of_all(ctx, h, "patching-cancelled");
}

void read_the_lens(ImGuiTestContext* ctx, Harness& h) {
    h.window().shell().show_panel("Logit lens");
    ctx->Yield(4);
    ctx->ItemClick("//Logit lens/Read");
    // Another test may have read another thought through it.
    std::shared_ptr<const LensView> lens;
    IM_CHECK(wait_until(ctx, 120, [&] {
        lens = h.snapshot()->lens;
        return lens && lens->state == CausalState::done && lens->request.thought == h.snapshot()->current;
    }));
    const LensMap& map = *lens->map;
    IM_CHECK_EQ(map.read, static_cast<int64_t>(h.snapshot()->path->tokens.size()));
    IM_CHECK_EQ(map.kl[static_cast<size_t>(5 * map.layers + map.layers - 1)], 0.0f);
    ctx->Yield(2);
    picture_of_all(ctx, h, "lens-kl");
    click_cell(ctx, "//Logit lens/lens", 0.12f, 0.5f);
    IM_CHECK(wait_until(ctx, 20, [&] { return h.snapshot()->selected.position <= 1; }));
    ctx->ItemClick("//Logit lens/measure/Difference");
    ctx->ItemClick("//Logit lens/states/Decoded z");
    ctx->ItemClick("//Logit lens/Read");
    IM_CHECK(wait_until(ctx, 120, [&] {
        const auto view = h.snapshot()->lens;
        return view->state == CausalState::done && view->request.states == LensStates::decoded;
    }));
    ctx->Yield(2);
    picture_of_all(ctx, h, "lens-decoded");
}

void look_at_attention(ImGuiTestContext* ctx, Harness& h) {
    h.window().shell().show_panel("Attention");
    ctx->SetRef(ctx->WindowInfo("//Transcript/flow").ID);
    ctx->ItemClick("token 7");
    IM_CHECK(wait_until(ctx, 60, [&] {
        const auto view = h.snapshot()->attention;
        return view && view->token == h.snapshot()->selected && view->tokens == 8;
    }));
    ctx->Yield(2);
    click_cell(ctx, "//Attention/heads", 0.5f, 0.5f);
    ctx->Yield(2);
    picture_of_all(ctx, h, "attention");
    click_cell(ctx, "//Attention/one head", 0.5f, 0.6f);
    IM_CHECK(wait_until(ctx, 60, [&] {
        return h.snapshot()->selected.position < 7 && h.snapshot()->attention->token == h.snapshot()->selected;
    }));
}

// Chosen as a colour, then looked at head by head: it is of the whole path, and grows with it.
void look_at_received(ImGuiTestContext* ctx, Harness& h) {
    const auto counted = [&](size_t at_least) {
        const auto s = h.snapshot();
        return settled(*s) && s->attention_mass && s->path->tokens.size() >= at_least &&
               s->attention_mass->tokens == static_cast<int64_t>(s->path->tokens.size());
    };
    IM_CHECK(!h.snapshot()->watches_attention_mass);
    ctx->SetRef("//Transcript");
    ctx->ComboClick("##colour/Attention received");
    IM_CHECK(wait_until(ctx, 60, [&] { return counted(1); }));
    const size_t tokens = h.snapshot()->path->tokens.size();
    ctx->Yield(3);
    ctx->SetRef(ctx->WindowInfo("//Transcript/flow").ID);
    ctx->MouseMove("token 4");
    ctx->SleepNoSkip(0.6f, 0.1f);
    picture_of_all(ctx, h, "received-transcript");
    h.window().shell().show_panel("Attention");
    ctx->Yield(3);
    ctx->ItemClick("//Attention/mode/Received");
    ctx->Yield(3);
    picture_of_all(ctx, h, "received-sum");
    ctx->ItemClick("//Attention/per later token");
    click_cell(ctx, "//Attention/heads", 0.5f, 0.5f);
    ctx->Yield(3);
    picture_of_all(ctx, h, "received-head");
    ctx->ItemClick("//Attention/All heads");
    click_cell(ctx, "//Attention/one head", 0.5f, 0.6f);
    IM_CHECK(wait_until(ctx, 60, [&] {
        const int64_t at = h.snapshot()->selected.position;
        return at > 0 && at < static_cast<int64_t>(tokens) - 1;
    }));
    h.window().shell().show_panel("Transcript");
    set_length(ctx, 40);
    workbench(h).submit(command::Continue{h.snapshot()->current, h.window().shell().ui().generate});
    IM_CHECK(wait_until(ctx, kPatience, [&] { return counted(tokens + 1); }));
    ctx->ItemClick("//Attention/mode/Looks at");
    ctx->SetRef("//Transcript");
    ctx->ComboClick("##colour/Log-probability");
    IM_CHECK(wait_until(ctx, 60, [&] { return !h.snapshot()->watches_attention_mass; }));
}

void diagnose(ImGuiTestContext* ctx, Harness& h) {
    h.window().shell().show_panel("Collapse");
    ctx->Yield(4);
    ctx->ItemInputValue("//Collapse/texts", 8);
    ctx->ItemClick("//Collapse/Diagnose");
    IM_CHECK(wait_until(
        ctx, 200, [&] { return h.snapshot()->diagnosis && h.snapshot()->diagnosis->state == CausalState::done; }));
    IM_CHECK_EQ(h.snapshot()->diagnosis->report.prompts_done, 8);
    ctx->Yield(3);
    picture_of_all(ctx, h, "collapse");
}

}  // namespace

void register_causal_tests(Harness& harness) {
    add_program_test(harness, "drift_to_patch", [](ImGuiTestContext* ctx, Harness& h) {
        two_capitals(ctx, h);
        compare(ctx, h);
        if (ctx->IsError()) return;
        look_at_drift(ctx, h);
        find_the_cause(ctx, h);
        if (ctx->IsError()) return;
        patch_here_and_cancel(ctx, h);
        lasso_marks_token_axes(ctx, h);
        h.window().shell().show_panel("Latent editor");
        ctx->Yield(4);
        check_no_errors(h);
    });
    add_program_test(harness, "lens_attention_collapse", [](ImGuiTestContext* ctx, Harness& h) {
        generate_raw(ctx, h, "The capital of France is the city of", 6);
        IM_CHECK(wait_until(ctx, 300, [&] { return h.snapshot()->sidecar->phase == Phase::ready; }));
        read_the_lens(ctx, h);
        if (ctx->IsError()) return;
        look_at_attention(ctx, h);
        look_at_received(ctx, h);
        if (ctx->IsError()) return;
        diagnose(ctx, h);
        h.window().shell().show_panel("Latent editor");
        h.window().shell().show_panel("Trajectory");
        ctx->Yield(6);
        check_no_errors(h);
    });
}

}  // namespace savepoint::test
