#include "tests/views/selection_marks.h"

#include <imgui_internal.h>

#include <algorithm>
#include <cmath>
#include <iterator>
#include <set>

#include "tests/views/program.h"
#include "views/palette.h"

namespace savepoint::test {
namespace {

views::TokenSelection& selection(Harness& h) { return h.window().shell().ui().selection; }

// Left and right edges of what a panel draws in the accent colour, in the frame before.
std::multiset<float> accent_edges(const char* panel) {
    std::multiset<float> edges;
    for (const ImDrawVert& vertex : ImGui::FindWindowByName(panel)->DrawList->VtxBuffer)
        if (vertex.col == views::palette::accent) edges.insert(std::round(vertex.pos.x));
    return edges;
}

// Middles of the marks that come with the selection, left to right.
std::vector<float> marks(ImGuiTestContext* ctx, Harness& h, const char* panel) {
    const std::vector<TokenRef> picked = selection(h).tokens();
    const std::multiset<float> with = accent_edges(panel);
    selection(h).clear();
    ctx->Yield(2);
    const std::multiset<float> without = accent_edges(panel);
    selection(h).set(picked);
    ctx->Yield(2);
    std::vector<float> added;
    std::set_difference(with.begin(), with.end(), without.begin(), without.end(), std::back_inserter(added));
    std::vector<float> middles;
    for (size_t i = 0; i + 3 < added.size(); i += 4) middles.push_back((added[i] + added[i + 3]) / 2);
    return middles;
}

// One for each of these columns, as far apart as they are.
void check_marks(ImGuiTestContext* ctx, Harness& h, const char* panel, const std::vector<int64_t>& columns) {
    h.window().shell().show_panel(panel);
    ctx->MouseMoveToPos({4, 4});
    ctx->Yield(6);
    const std::vector<float> at = marks(ctx, h, panel);
    picture_of_all(ctx, h, std::string("lasso-") + panel);
    IM_CHECK_GE(columns.size(), 2u);
    IM_CHECK_EQ(at.size(), columns.size());
    const float slot = (at.back() - at.front()) / static_cast<float>(columns.back() - columns.front());
    IM_CHECK_GT(slot, 2.0f);
    for (size_t i = 0; i < at.size(); ++i)
        IM_CHECK_LE(std::abs(at[i] - at[0] - slot * static_cast<float>(columns[i] - columns[0])), 2.0f);
}

// Of the aligned pairs of two runs, the first `count`: those whose token of b is picked out.
std::vector<int64_t> picked_pairs(Harness& h, const RunPairView& runs, int64_t count) {
    std::vector<int64_t> columns;
    for (int64_t i = 0; i < count; ++i) {
        const auto at = static_cast<size_t>(i);
        if (selection(h).contains(runs.owner_b[at], runs.pairs[at].b)) columns.push_back(i);
    }
    return columns;
}

std::vector<int64_t> picked_positions(Harness& h) {
    std::vector<int64_t> columns;
    for (const TokenRef& token : selection(h).tokens()) columns.push_back(token.position);
    std::sort(columns.begin(), columns.end());
    return columns;
}

void project(ImGuiTestContext* ctx, Harness& h) {
    h.window().shell().show_panel("Projection");
    ctx->Yield(4);
    ctx->SetRef("//Projection");
    ctx->ComboClick("##source/hidden states");
    ctx->ItemClick("Project");
    IM_CHECK(wait_until(ctx, 120, [&] {
        const auto view = h.snapshot()->projection;
        return view && !view->maps.empty() && view->points && !h.snapshot()->status.busy;
    }));
    ctx->Yield(4);
}

// Around a part of the canvas, from the left.
void lasso(ImGuiTestContext* ctx, float from, float to) {
    const ImRect rect = ctx->ItemInfo("//Projection/**/canvas").RectFull;
    const float left = rect.Min.x + from * rect.GetWidth() + 3, right = rect.Min.x + to * rect.GetWidth() - 3,
                top = rect.Min.y + 3, bottom = rect.Max.y - 3;
    ctx->MouseMoveToPos({left, top});
    ctx->MouseDown();
    for (const ImVec2 corner : {ImVec2(right, top), ImVec2(right, bottom), ImVec2(left, bottom)})
        ctx->MouseMoveToPos(corner);
    ctx->MouseUp();
    ctx->Yield(3);
}

}  // namespace

void lasso_marks_token_axes(ImGuiTestContext* ctx, Harness& h) {
    project(ctx, h);
    if (ctx->IsError()) return;
    const auto drift = h.snapshot()->drift;
    const auto patch = h.snapshot()->patch;
    // All, less those of one half: of the left one, unless that takes nearly all that Patching shows. Which tokens lie
    // where differs between processors.
    const auto all_but = [&](float from, float to) {
        lasso(ctx, 0, 1);
        ctx->KeyDown(ImGuiMod_Ctrl);
        lasso(ctx, from, to);
        ctx->KeyUp(ImGuiMod_Ctrl);
    };
    ctx->ItemClick("tool/Lasso");
    all_but(0, 0.5f);
    if (picked_pairs(h, *patch->runs, patch->usable_pairs).size() < 2) all_but(0.5f, 1);
    ctx->ItemClick("tool/Move");
    const auto tokens = static_cast<int64_t>(h.snapshot()->path->tokens.size());
    const auto picked = static_cast<int64_t>(selection(h).tokens().size());
    IM_CHECK_GE(picked, 2);
    IM_CHECK_LT(picked, tokens);
    picture_of_all(ctx, h, "lasso-projection");
    check_marks(ctx, h, "Drift", picked_pairs(h, *drift->runs, static_cast<int64_t>(drift->runs->pairs.size())));
    check_marks(ctx, h, "Patching", picked_pairs(h, *patch->runs, patch->usable_pairs));
    h.window().shell().show_panel("Logit lens");
    ctx->Yield(4);
    ctx->ItemClick("//Logit lens/Read");
    IM_CHECK(wait_until(ctx, 120, [&] {
        const auto lens = h.snapshot()->lens;
        return lens && lens->state == CausalState::done && lens->map->read == tokens;
    }));
    check_marks(ctx, h, "Logit lens", picked_positions(h));
    // All tokens before the last one are looked at by it.
    h.window().shell().show_panel("Attention");
    workbench(h).submit(command::Select{{h.snapshot()->path->tokens.back()->thought, tokens - 1}});
    IM_CHECK(wait_until(ctx, 60, [&] {
        return h.snapshot()->attention && h.snapshot()->attention->token == h.snapshot()->selected &&
               h.snapshot()->attention->tokens == tokens;
    }));
    check_marks(ctx, h, "Attention", picked_positions(h));
    selection(h).clear();
}

}  // namespace savepoint::test
