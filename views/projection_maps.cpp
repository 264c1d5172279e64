// The projection panel's maps: their scenes, the mouse on them, what is marked.

#include <imgui.h>

#include <algorithm>
#include <cmath>

#include "views/chart.h"
#include "views/palette.h"
#include "views/projection_panel.h"
#include "views/widgets.h"

namespace savepoint::views {
namespace {

size_t drawn_points(const ProjectionView& view, size_t map) {
    const auto& places = view.maps[map].places;
    return places ? std::min(places->size(), view.points->points.size()) : 0;
}

CloudCanvas::Axes axes_of(const ProjectionView& view, const ProjectionMap& map) {
    CloudCanvas::Axes axes;
    axes.numbers = view.settings.method == ProjectionMethod::pca;
    for (size_t k = 0; k < 3; ++k) {
        axes.names[k] = (axes.numbers ? "PC" : "UMAP ") + std::to_string(k + 1);
        if (!axes.numbers || k >= map.components.size()) continue;
        char text[48];
        std::snprintf(text, sizeof text, "PC%d, %.0f %% of variance", static_cast<int>(k) + 1,
                      100 * map.components[k].explained);
        axes.names[k] = text;
    }
    return axes;
}

std::string figure_of(double value) {
    char text[16];
    std::snprintf(text, sizeof text, "%.3f", value);
    return text;
}

}  // namespace

bool ProjectionPanel::draws_lines(const ProjectionView& view) const {
    return lines_ != Lines::none && view.settings.source != ProjectionSource::file;
}

void ProjectionPanel::follow(Frame& frame, const ProjectionView& view) {
    const auto& current = frame.snapshot.projection;
    const bool restarted = !view_ || view_->settings != view.settings ||
                           (view_->state != ProjectionState::running && view.state == ProjectionState::running);
    if (restarted) focus_ = -1, lasso_map_ = -1, lasso_.clear();
    if (scenes_.size() != view.maps.size()) {
        scenes_.resize(view.maps.size());
        for (auto& scene : scenes_)
            if (!scene) scene = std::make_unique<Scene>();
    }
    const std::vector<MapColour> there = map_colours(view);
    if (std::ranges::find(there, colour_) == there.end()) colour_ = there.front();
    const bool points_changed = linked_ != view.points || linked_lines_ != lines_;
    if (points_changed) {
        linked_ = view.points, linked_lines_ = lines_;
        tokens_.clear();
        for (const ProjectionPoint& p : view.points->points) tokens_.push_back({p.thought, p.position});
        std::vector<PathToken> tokens;
        if (draws_lines(view))
            for (const ProjectionPoint& p : view.points->points) tokens.push_back({p.thought, p.position, p.part});
        links_ = lines_ == Lines::layers ? part_links(tokens) : token_links(tokens, *frame.snapshot.graph);
    }
    const bool same = view_ == current && !points_changed && view_colour_ == colour_ && view_label_ == label_ &&
                      view_lines_ == lines_ && view_focus_ == focus_ && view_selection_ == frame.ui.selection.changes();
    if (same) return;
    view_ = current, view_colour_ = colour_, view_label_ = label_, view_lines_ = lines_, view_focus_ = focus_;
    view_selection_ = frame.ui.selection.changes();
    for (size_t m = 0; m < view.maps.size(); ++m) update_scene(frame, view, m, restarted);
}

void ProjectionPanel::update_scene(const Frame& frame, const ProjectionView& view, size_t m, bool other) {
    const ProjectionMap& map = view.maps[m];
    Scene& scene = *scenes_[m];
    scene.places = map.places;
    ColouredPoints coloured = colour_points(view, map, colour_, label_);
    scene.colours = coloured.colours;
    if (&map == &shown_map(view)) coloured_ = std::move(coloured);
    const size_t count = drawn_points(view, m);
    const TokenSelection& selection = frame.ui.selection;
    const bool small = view.maps.size() > 1 && focus_ < 0;
    const float radius = (small ? 0.7f : 1) * disc_radius(count);
    std::vector<Vec3> places;
    std::vector<CloudPoint> points;
    places.reserve(count), points.reserve(count);
    for (size_t i = 0; i < count; ++i) {
        const ProjectionPoint& point = view.points->points[i];
        const bool apart = !selection.empty() && !selection.contains(point.thought, point.position);
        places.push_back((*map.places)[i]);
        points.push_back({places.back(), with_alpha(scene.colours[i], apart ? 0.22f : 1), radius});
    }
    std::vector<PathLink> links;
    for (const PathLink& link : links_)
        if (link.from < count && link.to < count) links.push_back(link);
    auto lines = link_lines(links, places, points, !small);
    scene.canvas.set_flat(view.settings.method == ProjectionMethod::umap ? map.dimensions == 2
                                                                         : settings_.umap.components == 2);
    scene.canvas.set(std::move(places), std::move(points), std::move(lines), other);
}

void ProjectionPanel::draw_maps(Frame& frame, const ProjectionView& view, ImVec2 size) {
    if (focus_ >= static_cast<int>(view.maps.size())) focus_ = -1;
    if (view.maps.size() == 1) return draw_map(frame, view, 0, size, true);
    if (focus_ >= 0) return draw_map(frame, view, static_cast<size_t>(focus_), size, true);
    if (!ImGui::BeginChild("maps", size)) return ImGui::EndChild();
    const auto count = static_cast<int>(view.maps.size());
    // As many columns as leave each map the most room; below the least height they scroll.
    const ImVec2 room = ImGui::GetContentRegionAvail();
    const float gap = 0.4f * em(), least = 8.5f * em();
    const auto natural = [&](int columns) {
        const auto rows = static_cast<float>((count + columns - 1) / columns), over = static_cast<float>(columns);
        return ImVec2((room.x - gap * (over - 1)) / over, (room.y - gap * (rows - 1)) / rows);
    };
    int columns = 1;
    float best = 0;
    for (int c = 1; c <= count && (c == 1 || natural(c).x >= least); ++c) {
        const float side = std::min(natural(c).x, 1.4f * natural(c).y);
        if (side > best + 1) best = side, columns = c;
    }
    const float width = natural(columns).x, height = std::max(natural(columns).y, least);
    const ImVec2 start = ImGui::GetCursorScreenPos();
    for (int m = 0; m < count; ++m) {
        ImGui::SetCursorScreenPos({start.x + static_cast<float>(m % columns) * (width + gap),
                                   start.y + static_cast<float>(m / columns) * (height + gap)});
        draw_map(frame, view, static_cast<size_t>(m), {std::floor(width), std::floor(height)}, false);
    }
    ImGui::EndChild();
}

// whole: it has the panel's room to itself; otherwise it is one of several, under a heading that enlarges it.
void ProjectionPanel::draw_map(Frame& frame, const ProjectionView& view, size_t m, ImVec2 size, bool whole) {
    const ProjectionMap& map = view.maps[m];
    CloudCanvas& canvas = scenes_[m]->canvas;
    ImGui::PushID(static_cast<int>(m));
    ImVec2 at = ImGui::GetCursorScreenPos();
    if (!whole || view.maps.size() > 1) {
        std::string heading = map.label;
        if (!whole && !std::isnan(map.trustworthiness)) heading += "  " + figure_of(map.trustworthiness);
        if (whole) heading = "< all maps   " + heading;
        ImGui::PushStyleColor(ImGuiCol_Button, IM_COL32(0, 0, 0, 0));
        const bool pressed = ImGui::Button((heading + "###enlarge").c_str(), {0, 0});
        ImGui::PopStyleColor();
        tooltip(whole ? "Back to all maps side by side."
                      : "Click: this map alone. The number is its trustworthiness: 1 where every neighbour on the map "
                        "is one among the points.");
        const float heading_height = ImGui::GetItemRectSize().y + 2;
        size.y -= heading_height, at.y += heading_height;
        if (pressed) focus_ = whole ? -1 : static_cast<int>(m), coloured_ = colour_points(view, map, colour_, label_);
    }
    ImGui::SetCursorScreenPos(at);
    CloudCanvas::Axes axes = axes_of(view, map);
    if (!whole) axes.names = {}, axes.numbers = false;
    canvas.begin("map", size, axes, {.left_drags = !lasso_tool_, .wheel = whole || view.maps.size() <= 6});
    if (canvas.places().empty()) {
        const std::string stage = map.stage.empty() ? "waiting" : map.stage;
        halo_text(ImGui::GetWindowDrawList(),
                  {(canvas.low().x + canvas.high().x) / 2, (canvas.low().y + canvas.high().y) / 2}, palette::text_dim,
                  stage, 0.5f);
    }
    if (canvas.draft()) frame.ui.redraw_after(0.16);
    draw_marks(frame, view, canvas);
    use_lasso(frame, view, m);
    canvas.end();
    if (!lasso_.drawing()) pick(frame, view, canvas);
    ImGui::PopID();
}

void ProjectionPanel::draw_marks(Frame& frame, const ProjectionView& view, const CloudCanvas& canvas) const {
    auto* draw = ImGui::GetWindowDrawList();
    const TokenRef chosen = by_owner(frame.snapshot, frame.snapshot.selected),
                   pointed = by_owner(frame.snapshot, frame.ui.hovered);
    const auto& points = view.points->points;
    const size_t count = std::min(canvas.places().size(), tokens_.size());
    for (size_t i = 0; i < count; ++i) {
        const bool selected = tokens_[i] == chosen && chosen.thought != 0;
        const bool under = static_cast<int>(i) == canvas.under_mouse();
        const bool hovered = under || (tokens_[i] == pointed && pointed.position >= 0);
        if (!selected && !hovered) continue;
        const Projected p = canvas.project(canvas.places()[i]);
        if (p.w <= 0) continue;
        if (hovered) draw->AddCircle(p.at, 0.5f * em(), palette::text, 0, 1.5f);
        if (selected) draw->AddCircle(p.at, 0.62f * em(), palette::accent, 0, 2.5f);
        if (selected || under)
            tag_text(draw, {p.at.x, p.at.y - 0.8f * em() - small_height()}, palette::text,
                     points[i].text.empty() ? "row " + std::to_string(points[i].position) : visible(points[i].text),
                     0.5f);
    }
}

void ProjectionPanel::use_lasso(Frame& frame, const ProjectionView& view, size_t m) {
    const CloudCanvas& canvas = scenes_[m]->canvas;
    if (lasso_map_ >= 0 && lasso_map_ != static_cast<int>(m)) return;
    const bool held = lasso_tool_ && canvas.active() && ImGui::IsMouseDown(ImGuiMouseButton_Left);
    const bool closed = lasso_.update(held);
    if (held) lasso_map_ = static_cast<int>(m);
    lasso_.draw(ImGui::GetWindowDrawList());
    if (!closed) return;
    const ImGuiIO& io = ImGui::GetIO();
    TokenSelection& selection = frame.ui.selection;
    if (!lasso_.is_click()) {
        std::vector<TokenRef> inside;
        const auto& points = view.points->points;
        for (size_t i = 0; i < std::min(canvas.places().size(), points.size()); ++i) {
            const Projected p = canvas.project(canvas.places()[i]);
            if (p.w > 0 && lasso_.contains(p.at)) inside.push_back({points[i].thought, points[i].position});
        }
        if (io.KeyShift)
            selection.add(inside);
        else if (io.KeyCtrl)
            selection.remove(inside);
        else
            selection.set(std::move(inside));
    } else if (canvas.under_mouse() < 0 && !io.KeyShift && !io.KeyCtrl) {
        selection.clear();
    }
    lasso_.clear();
    lasso_map_ = -1;
    frame.ui.redraw_after(0);
}

void ProjectionPanel::pick(Frame& frame, const ProjectionView& view, const CloudCanvas& canvas) {
    if (canvas.under_mouse() < 0) return;
    const auto i = static_cast<size_t>(canvas.under_mouse());
    if (i >= view.points->points.size()) return;
    const ProjectionPoint& point = view.points->points[i];
    const TokenRef ref{point.thought, point.position};
    frame.ui.hovering = ref;
    point_tooltip(frame.snapshot, view, i);
    if (!canvas.clicked()) return;
    if (ImGui::GetIO().KeyCtrl)
        frame.ui.selection.contains(ref.thought, ref.position) ? frame.ui.selection.remove({ref})
                                                               : frame.ui.selection.add({ref});
    else if (ref.thought != 0)
        frame.submit(command::Select{ref});
}

void ProjectionPanel::point_tooltip(const Snapshot& snapshot, const ProjectionView& view, size_t i) const {
    const ProjectionPoint& point = view.points->points[i];
    const TokenView* token = point.thought != 0 ? find_token(snapshot, {point.thought, point.position}) : nullptr;
    if (token != nullptr) token_tooltip(*token);
    if (!ImGui::BeginTooltip()) return;
    if (token == nullptr && point.thought != 0) {
        ImGui::Text("\"%s\"", visible(point.text).c_str());
        ImGui::TextDisabled("position %d, thought %d", static_cast<int>(point.position),
                            static_cast<int>(point.thought));
        ImGui::Text("log-probability  %s nats", format_number(point.log_probability).c_str());
        ImGui::Text("anomaly  %s (percentile)", format_number(point.anomaly).c_str());
    }
    if (point.thought == 0) {
        ImGui::TextDisabled("row %d", static_cast<int>(point.position));
        const auto& names = view.points->label_names;
        for (size_t c = 0; c < names.size() && i < view.points->labels.size(); ++c)
            ImGui::Text("%s  %s", drawable(names[c]).c_str(), drawable(view.points->labels[i][c]).c_str());
    }
    if (point.part >= 0) ImGui::Text("after layer %d", static_cast<int>(point.part));
    const ProjectionMap& map = shown_map(view);
    if (map.clusters && i < map.clusters->size()) {
        const int32_t cluster = (*map.clusters)[i];
        ImGui::TextUnformatted(cluster < 0 ? "in no cluster" : ("cluster " + std::to_string(cluster + 1)).c_str());
    }
    ImGui::EndTooltip();
}

}  // namespace savepoint::views
