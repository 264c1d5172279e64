// The projection panel: its widgets over a made-up map, and over a real session.

#include <imgui_internal.h>

#include <cmath>
#include <filesystem>
#include <fstream>
#include <iterator>

#include "tests/views/program.h"
#include "tests/views/sample_projection.h"
#include "tests/views/sample_snapshot.h"
#include "views/cloud_scene.h"

namespace savepoint::test {
namespace {

using views::Vec3;

template <class Body>
void add(Harness& harness, const char* name, Body body) {
    ImGuiTest* test = IM_REGISTER_TEST(harness.engine(), "panels", name);
    test->TestFunc = [&harness, body](ImGuiTestContext* ctx) {
        harness.show(sample_snapshot());
        harness.window().shell().ui().selection.clear();
        harness.window().shell().show_panel("Projection");
        ctx->Yield(6);
        body(ctx, harness);
        harness.window().shell().ui().selection.clear();
        harness.window().shell().show_panel("Latent editor");
        ctx->Yield(4);
    };
}

views::TokenSelection& selection(Harness& h) { return h.window().shell().ui().selection; }

int selected(Harness& h) { return static_cast<int>(selection(h).tokens().size()); }

ImRect canvas_rect(ImGuiTestContext* ctx) { return ctx->ItemInfo("//Projection/**/canvas").RectFull; }

// Where the panel draws a place, as long as the view has not been moved.
ImVec2 on_screen(const ProjectionMap& map, const ImRect& rect, const Vec3& place) {
    int outside = 0;
    const float aspect = rect.GetWidth() / rect.GetHeight();
    const auto camera = views::fit_camera({}, views::central_bounds(*map.places, outside), aspect);
    return views::project(camera.matrix(aspect), place, rect.Min, rect.Max).at;
}

void draw_around(ImGuiTestContext* ctx, const std::vector<ImVec2>& corners) {
    ctx->MouseMoveToPos(corners[0]);
    ctx->MouseDown();
    for (size_t i = 1; i < corners.size(); ++i) ctx->MouseMoveToPos(corners[i]);
    ctx->MouseUp();
    ctx->Yield(3);
}

// Around the left or the right cluster of the made-up map.
void lasso_cluster(ImGuiTestContext* ctx, Harness& h, bool left) {
    const ProjectionMap map = h.snapshot()->projection->maps[0];
    const ImRect rect = canvas_rect(ctx);
    const float a = left ? -5.8f : 2.2f, b = left ? -2.2f : 5.8f;
    draw_around(ctx, {on_screen(map, rect, {a, 2.8f, 0}), on_screen(map, rect, {b, 2.8f, 0}),
                      on_screen(map, rect, {b, -2.8f, 0}), on_screen(map, rect, {a, -2.8f, 0})});
}

int tokens_at(const ProjectionPoints& points, int64_t parity) {
    int found = 0;
    for (size_t i = 0; i < points.points.size(); ++i) found += i != 5 && points.points[i].position % 2 == parity;
    return found;
}

int times(const std::string& text, const std::string& part) {
    int found = 0;
    for (size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++found;
    return found;
}

// Chooses an entry of the export menu and a file for it.
void export_to(ImGuiTestContext* ctx, const char* entry, const char* dialog, const std::string& folder,
               const char* name) {
    ctx->ItemClick("//Projection/Export");
    ctx->ItemClick((std::string("//$FOCUSED/") + entry).c_str());
    choose_file(ctx, dialog, folder, name);
    ctx->SetRef("//Projection");
}

std::string fresh_folder(const char* name) {
    const auto folder = std::filesystem::temp_directory_path() / (std::string("savepoint-views-") + name);
    std::filesystem::remove_all(folder);
    std::filesystem::create_directories(folder);
    return folder.string();
}

std::string contents(const std::string& path) {
    std::ifstream file(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
}

void register_made_up(Harness& harness) {
    add(harness, "projection_lasso_selects_tokens", [](ImGuiTestContext* ctx, Harness& h) {
        ctx->SetRef("//Projection");
        ctx->ItemClick("tool/Lasso");
        const auto points = h.snapshot()->projection->points;
        lasso_cluster(ctx, h, true);
        IM_CHECK_EQ(selected(h), tokens_at(*points, 0));
        for (const TokenRef& token : selection(h).tokens()) IM_CHECK_EQ(token.position % 2, 0);
        picture_of_all(ctx, h, "projection-lasso");
        ctx->KeyDown(ImGuiMod_Shift);
        lasso_cluster(ctx, h, false);
        ctx->KeyUp(ImGuiMod_Shift);
        IM_CHECK_EQ(selected(h), tokens_at(*points, 0) + tokens_at(*points, 1));
        ctx->KeyDown(ImGuiMod_Ctrl);
        lasso_cluster(ctx, h, true);
        ctx->KeyUp(ImGuiMod_Ctrl);
        IM_CHECK_EQ(selected(h), tokens_at(*points, 1));
        ctx->ItemClick("Clear");
        IM_CHECK(selection(h).empty());
        ctx->ItemClick("tool/Move");
    });
    add(harness, "projection_points_are_hovered_and_clicked", [](ImGuiTestContext* ctx, Harness& h) {
        const ProjectionView view = *h.snapshot()->projection;
        const ImRect rect = canvas_rect(ctx);
        ctx->MouseMoveToPos(on_screen(view.maps[0], rect, (*view.maps[0].places)[40]));
        ctx->Yield(3);
        IM_CHECK_EQ(h.window().shell().ui().hovered.position, view.points->points[40].position);
        ctx->MouseClick();
        ctx->Yield(2);
        const TokenRef chosen = last<command::Select>(h.submitted()).token;
        IM_CHECK_EQ(chosen.position, view.points->points[40].position);
        IM_CHECK_EQ(chosen.thought, view.points->points[40].thought);
        // The outlier is not in sight until it is asked for.
        IM_CHECK(!rect.Contains(on_screen(view.maps[0], rect, (*view.maps[0].places)[5])));
        ctx->ItemClick("//Projection/**/###outside");
        ctx->Yield(3);
        IM_CHECK(!ctx->ItemExists("//Projection/**/###outside"));
        ctx->ItemClick("//Projection/Reset view");
        ctx->Yield(3);
        IM_CHECK(ctx->ItemExists("//Projection/**/###outside"));
    });
    add(harness, "projection_settings_are_submitted", [](ImGuiTestContext* ctx, Harness& h) {
        ctx->SetRef("//Projection");
        ctx->ItemClick("method/UMAP");
        ctx->ComboClick("##source/hidden states");
        ctx->ItemClick("##parts");
        ctx->ItemClick("//$FOCUSED/a map for each layer");
        ctx->ItemClick("//$FOCUSED/Every fourth");
        ctx->PopupCloseAll();
        ctx->ComboClick("##scope/all thoughts");
        ctx->ItemClick("###more");
        const ImGuiID popup = ctx->WindowInfo("//$FOCUSED").ID;
        const auto within = [&](const char* table) { ctx->SetRef(ctx->GetID(table, popup)); };
        within("umap");
        ctx->ItemInputValue("##n_neighbors", 30);
        ctx->ItemInputValue("##min_dist", 0.25f);
        ctx->ComboClick("##metric/cosine");
        ctx->ItemInputValue("##seed", 7);
        ctx->ComboClick("##mode/parallel");
        within("points");
        ctx->ComboClick("##scaling/robust (median, quartiles)");
        within("clusters");
        ctx->ComboClick("##clusters/k-means");
        ctx->ItemInputValue("##k", 5);
        picture_of_all(ctx, h, "projection-settings");
        ctx->PopupCloseAll();
        ctx->SetRef("//Projection");
        ctx->ItemClick("Project");
        IM_CHECK_EQ(count<command::Project>(h.submitted()), 1);
        const ProjectionSettings sent = last<command::Project>(h.submitted()).settings;
        IM_CHECK(sent.method == ProjectionMethod::umap);
        IM_CHECK(sent.source == ProjectionSource::hidden);
        IM_CHECK(sent.arrangement == ProjectionArrangement::separate);
        IM_CHECK(sent.scope == ProjectionScope::all);
        IM_CHECK((sent.parts == std::vector<int64_t>{3, 7, 11, 15, 19, 23, 27}));
        IM_CHECK_EQ(sent.umap.neighbors, 30);
        IM_CHECK_EQ(sent.umap.min_dist, 0.25f);
        IM_CHECK(sent.umap.metric == PointMetric::cosine);
        IM_CHECK_EQ(sent.umap.seed, 7u);
        IM_CHECK(!sent.umap.reproducible);
        IM_CHECK(sent.scaling == ProjectionScaling::robust);
        IM_CHECK(sent.clusters == ClusterMethod::kmeans && sent.cluster_count == 5);
        ctx->ItemClick("###more");
        ctx->ItemClick("//$FOCUSED/Defaults");
        ctx->PopupCloseAll();
        ctx->SetRef("//Projection");
        ctx->ItemClick("##parts");
        ctx->ItemClick("//$FOCUSED/one map, layers joined");
        ctx->ItemClick("//$FOCUSED/All");
        ctx->PopupCloseAll();
        ctx->ComboClick("##source/latents");
        ctx->ComboClick("##scope/current path");
    });
    add(harness, "projection_is_exported", [](ImGuiTestContext* ctx, Harness& h) {
        const std::string folder = fresh_folder("projection-made-up");
        ctx->SetRef("//Projection");
        ctx->ComboClick("##colour/cluster");
        selection(h).set({{h.snapshot()->projection->points->points[40].thought, 40}});
        export_to(ctx, "Picture (SVG)", "//Export the map", folder, "map.svg");
        const auto svg = last<command::WriteFile>(h.submitted());
        IM_CHECK_STR_EQ(svg.path.c_str(), (folder + "/map.svg").c_str());
        IM_CHECK_EQ(times(svg.contents, "<circle"),
                    static_cast<int>(h.snapshot()->projection->points->points.size()) - 1);
        IM_CHECK(svg.contents.find("trustworthiness 0.964") != std::string::npos);
        IM_CHECK(svg.contents.find("n_neighbors 15") != std::string::npos);
        IM_CHECK(svg.contents.find("cluster 1 (") != std::string::npos);
        export_to(ctx, "Picture (PNG)", "//Export the map", folder, "map.png");
        const auto png = last<command::WriteFile>(h.submitted());
        IM_CHECK(png.contents.starts_with("\x89PNG"));
        std::ofstream(h.picture("projection-exported"), std::ios::binary) << png.contents;
        std::ofstream(h.picture("projection-exported") + ".svg", std::ios::binary) << svg.contents;
        export_to(ctx, "Points with labels (CSV)", "//Export the points", folder, "map.csv");
        IM_CHECK_STR_EQ(last<command::Export>(h.submitted()).what.c_str(), "projection.csv");
        ctx->ComboClick("##colour/thought");
    });
    add(harness, "projection_shows_variance_and_small_multiples", [](ImGuiTestContext* ctx, Harness& h) {
        ctx->SetRef("//Projection");
        ctx->ItemClick("Variance");
        picture_of_all(ctx, h, "projection-variance");
        ctx->ItemClick("Variance");
        auto several = sample_snapshot();
        several->projection = sample_projection(*several->trajectory, 12);
        h.show(several);
        ctx->Yield(6);
        picture_of_all(ctx, h, "projection-multiples");
        ctx->SetRef(child(ctx, "//Projection/maps"));
        ctx->ItemClick("$$3/###enlarge");
        ctx->Yield(6);
        picture_of_all(ctx, h, "projection-one-of-several");
        IM_CHECK(!ctx->ItemExists("$$4/###enlarge"));
        ctx->ItemClick("//Projection/$$3/###enlarge");
        ctx->Yield(3);
        IM_CHECK(ctx->ItemExists("$$4/###enlarge"));
        ctx->SetRef("//Projection");
        auto large = sample_snapshot();
        large->projection = large_projection(20000, 2);
        h.show(large);
        ctx->Yield(6);
        ctx->ComboClick("##colour/arm");
        picture_of_all(ctx, h, "projection-large");
        auto none = sample_snapshot();
        none->projection = nullptr;
        h.show(none);
        ctx->Yield(4);
        picture_of_all(ctx, h, "projection-none");
        ctx->ItemClick("Project now");
        IM_CHECK_EQ(count<command::Project>(h.submitted()), 1);
    });
}

// -- a real session ------------------------------------------------------------------------------------------------

void picture_in_both_sizes(ImGuiTestContext* ctx, Harness& h, const std::string& name) {
    const ImVec2 size = ImGui::GetIO().DisplaySize;
    ctx->MouseMoveToPos({0.75f * size.x, size.y - 8});  // where nothing has a tooltip
    ctx->Yield(20);
    picture_of_all(ctx, h, name);
    for (const ImVec2 other : {ImVec2(1280, 800), size}) {
        h.window().resize(static_cast<int>(other.x), static_cast<int>(other.y));
        wait_until(ctx, 3, [&] { return ImGui::GetIO().DisplaySize.x == other.x; });
        ctx->Yield(6);
        if (other.x != size.x) picture_of_all(ctx, h, name + "-1280x800");
    }
}

bool finished(const Snapshot& s) { return s.projection && s.projection->state != ProjectionState::running; }

std::shared_ptr<const ProjectionView> project(ImGuiTestContext* ctx, Harness& h) {
    const auto before = h.snapshot()->projection;
    ctx->ItemClick("//Projection/Project");
    // Not an older map in which later tokens were placed meanwhile.
    const auto anew = [&] {
        const auto now = h.snapshot();
        return now->projection != before && finished(*now) && now->projection->points->followed == 0;
    };
    IM_CHECK_RETV(wait_until(ctx, kPatience, anew), nullptr);
    ctx->Yield(6);
    const auto view = h.snapshot()->projection;
    if (view->state != ProjectionState::done) IM_ERRORF("%s", view->error.c_str());
    return view;
}

void lasso_left_half(ImGuiTestContext* ctx, Harness& h, const ProjectionView& view) {
    const ImRect rect = canvas_rect(ctx);
    ctx->ItemClick("//Projection/tool/Lasso");
    const float middle = std::floor(rect.GetCenter().x);  // where the mouse really goes
    draw_around(ctx, {{rect.Min.x + 2, rect.Min.y + 2},
                      {middle, rect.Min.y + 2},
                      {middle, rect.Max.y - 2},
                      {rect.Min.x + 2, rect.Max.y - 2}});
    int expected = 0;
    for (size_t i = 0; i < view.points->points.size(); ++i) {
        const ImVec2 at = on_screen(view.maps[0], rect, (*view.maps[0].places)[i]);
        expected += at.x > rect.Min.x + 2 && at.x < middle && at.y > rect.Min.y + 2 && at.y < rect.Max.y - 2;
    }
    IM_CHECK_GT(expected, 0);
    IM_CHECK_EQ(selected(h), expected);
    ctx->ItemClick("//Projection/tool/Move");
}

void umap_of_latents(ImGuiTestContext* ctx, Harness& h) {
    const auto tokens = static_cast<int64_t>(h.snapshot()->path->tokens.size());
    ctx->SetRef("//Projection");
    ctx->ItemClick("method/UMAP");
    const auto view = project(ctx, h);
    if (ctx->IsError()) return;
    IM_CHECK_EQ(view->points->asked, tokens);
    IM_CHECK_EQ(static_cast<int64_t>(view->points->points.size()), tokens - 4);
    IM_CHECK_EQ(view->maps[0].places->size(), view->points->points.size());
    IM_CHECK_GT(view->maps[0].trustworthiness, 0.7);
    IM_CHECK_GT(view->maps[0].continuity, 0.7);
    lasso_left_half(ctx, h, *view);
    picture_in_both_sizes(ctx, h, "program-projection-umap");
    selection(h).clear();
}

void tokens_that_come_later(ImGuiTestContext* ctx, Harness& h) {
    const auto before = h.snapshot()->projection;
    workbench(h).submit(command::Continue{h.snapshot()->current, {{}, 8, true}});
    IM_CHECK(wait_until(ctx, kPatience,
                        [&] { return h.snapshot()->projection && h.snapshot()->projection->points->followed == 8; }));
    const auto after = h.snapshot()->projection;
    IM_CHECK(
        std::equal(before->maps[0].places->begin(), before->maps[0].places->end(), after->maps[0].places->begin()));
    IM_CHECK_EQ(after->maps[0].places->size(), before->maps[0].places->size() + 8);
}

void layers_side_by_side(ImGuiTestContext* ctx, Harness& h) {
    ctx->SetRef("//Projection");
    ctx->ItemClick("method/PCA");
    ctx->ComboClick("##source/hidden states");
    ctx->ItemClick("##parts");
    ctx->ItemClick("//$FOCUSED/a map for each layer");
    ctx->ItemClick("//$FOCUSED/Every fourth");
    ctx->PopupCloseAll();
    auto view = project(ctx, h);
    if (ctx->IsError()) return;
    IM_CHECK_EQ(view->maps.size(), 7u);
    for (const ProjectionMap& map : view->maps) IM_CHECK_GT(map.trustworthiness, 0.5);
    ctx->ComboClick("##colour/position");
    picture_in_both_sizes(ctx, h, "program-projection-layers");

    ctx->ItemClick("##parts");
    ctx->ItemClick("//$FOCUSED/one map, a point for each layer");
    ctx->PopupCloseAll();
    ctx->ItemClick("dimensions/3D");
    view = project(ctx, h);
    if (ctx->IsError()) return;
    const auto tokens = static_cast<int64_t>(h.snapshot()->path->tokens.size());
    IM_CHECK_EQ(view->maps.size(), 1u);
    IM_CHECK_EQ(static_cast<int64_t>(view->points->points.size()), 7 * (tokens - 4));
    IM_CHECK_EQ(view->points->points[2].part, 11);
    ctx->ComboClick("##colour/layer");
    ctx->ComboClick("##lines/layer by layer");
    picture_of_all(ctx, h, "program-projection-stacked");
    ctx->ComboClick("##lines/token by token");
}

void files_out(ImGuiTestContext* ctx, Harness& h) {
    const std::string folder = fresh_folder("projection");
    export_to(ctx, "Picture (PNG)", "//Export the map", folder, "map.png");
    export_to(ctx, "Picture (SVG)", "//Export the map", folder, "map.svg");
    export_to(ctx, "Points with labels (CSV)", "//Export the points", folder, "map.csv");
    IM_CHECK(wait_until(ctx, 30, [&] { return std::filesystem::exists(folder + "/map.csv"); }));
    IM_CHECK(contents(folder + "/map.png").starts_with("\x89PNG"));
    IM_CHECK(contents(folder + "/map.svg").find("PCA of hidden states") != std::string::npos);
    IM_CHECK(contents(folder + "/map.csv").starts_with("map,thought,position,layer,id,text,x,y,z,cluster"));
    std::filesystem::copy_file(folder + "/map.png", h.picture("program-projection-exported"),
                               std::filesystem::copy_options::overwrite_existing);
}

void cancelled(ImGuiTestContext* ctx, Harness& h) {
    ctx->SetRef("//Projection");
    ctx->ItemClick("method/UMAP");
    ctx->ItemClick("###more");
    ctx->SetRef("//$FOCUSED");
    ctx->ItemInputValue("umap/##epochs", 100000);
    ctx->PopupCloseAll();
    ctx->SetRef("//Projection");
    const auto before = h.snapshot()->projection;
    ctx->ItemClick("Project");
    IM_CHECK(wait_until(ctx, kPatience, [&] {
        const auto now = h.snapshot()->projection;
        return now && now != before && now->state == ProjectionState::running && !now->maps.empty() &&
               now->maps[0].places;
    }));
    picture_of_all(ctx, h, "program-projection-running");
    ctx->ItemClick("Cancel");
    IM_CHECK(wait_until(ctx, 60, [&] { return finished(*h.snapshot()); }));
    IM_CHECK(h.snapshot()->projection->state == ProjectionState::cancelled);
    IM_CHECK_EQ(h.snapshot()->projection->maps[0].places->size(), h.snapshot()->projection->points->points.size());
}

}  // namespace

void register_projection_tests(Harness& harness) {
    register_made_up(harness);
    add_program_test(harness, "projection", [](ImGuiTestContext* ctx, Harness& h) {
        IM_CHECK(wait_until(ctx, kPatience, [&] { return h.snapshot()->sidecar->phase == Phase::ready; }));
        generate(ctx, h, "Tell me about whales and lighthouses, and then about bread.", 90);
        if (ctx->IsError()) return;
        h.window().shell().show_panel("Projection");
        ctx->Yield(6);
        for (auto* part : {umap_of_latents, tokens_that_come_later, layers_side_by_side, files_out, cancelled}) {
            part(ctx, h);
            if (ctx->IsError()) return;
        }
        check_no_errors(h);
        h.window().shell().show_panel("Latent editor");
        discard_session(ctx, h);
    });
}

}  // namespace savepoint::test
