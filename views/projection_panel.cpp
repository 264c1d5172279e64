#include "views/projection_panel.h"

#include <imgui.h>

#include <algorithm>
#include <cmath>
#include <cstdio>

#include "views/chart.h"
#include "views/palette.h"
#include "views/projection_components.h"
#include "views/projection_figure.h"
#include "views/widgets.h"

namespace savepoint::views {
namespace {

constexpr size_t kClassesShown = 8;

std::string printed(const char* format, double value) {
    char text[64];
    std::snprintf(text, sizeof text, format, value);
    return text;
}

std::string grouped(int64_t number) {
    std::string text = std::to_string(number);
    for (auto at = static_cast<int64_t>(text.size()) - 3; at > 0; at -= 3) text.insert(static_cast<size_t>(at), ",");
    return text;
}

// A dim name and its value as one item, on the line where it fits.
void figure(const char* name, const std::string& value, ImU32 colour, const char* tip, bool first = false) {
    const float width = small_width(std::string(name) + " " + value) + 0.2f * em();
    if (!first) flow(width);
    const ImVec2 at = ImGui::GetCursorScreenPos();
    ImGui::Dummy({width, small_height()});
    auto* draw = ImGui::GetWindowDrawList();
    small_text(draw, at, palette::text_dim, name);
    small_text(draw, {at.x + small_width(std::string(name) + " "), at.y}, colour, value);
    tooltip(tip);
}

const JobView* running_job(const Snapshot& snapshot) {
    for (const JobView& job : *snapshot.jobs)
        if (job.name.starts_with("Projecting by") &&
            (job.state == JobView::State::running || job.state == JobView::State::queued))
            return &job;
    return nullptr;
}

// Why nothing can be projected as the settings are; empty: it can.
std::string hindrance(const Snapshot& snapshot, const ProjectionSettings& settings) {
    if (settings.source == ProjectionSource::file) return settings.file.empty() ? "choose a file of points" : "";
    if (snapshot.graph->thoughts.empty()) return "generate from a prompt first: each token becomes a point";
    if (settings.source == ProjectionSource::latents && snapshot.sidecar->phase != Phase::ready)
        return "latents need a sidecar: fit one under Model and sidecar, or choose hidden states";
    return {};
}

}  // namespace

const ProjectionMap& ProjectionPanel::shown_map(const ProjectionView& view) const {
    const auto m = focus_ >= 0 && focus_ < static_cast<int>(view.maps.size()) ? focus_ : 0;
    return view.maps[static_cast<size_t>(m)];
}

// The button that starts it, or how far it is and the one that stops it.
void ProjectionPanel::draw_run(Frame& frame) {
    const auto& view = frame.snapshot.projection;
    if (const JobView* job = running_job(frame.snapshot)) {
        flow(button_width("Project"));
        if (ImGui::Button("Cancel", {button_width("Project"), 0})) frame.submit(command::CancelJob{job->id});
        tooltip("Stops, and keeps the map as it is now.");
        frame.ui.redraw_after(0.1);
        return;
    }
    const std::string missing = hindrance(frame.snapshot, settings_);
    const bool changed = view && view->settings != settings_;
    flow(button_width("Project"));
    ImGui::BeginDisabled(!missing.empty());
    ImGui::PushStyleColor(ImGuiCol_Button, !view || changed ? palette::accent_dim : palette::raised);
    if (ImGui::Button("Project")) frame.submit(command::Project{settings_});
    ImGui::PopStyleColor();
    ImGui::EndDisabled();
    tooltip(!missing.empty() ? missing.c_str()
            : changed ? "The settings have changed since this map was made. Makes another one, in the background."
                      : "Makes the map in the background; it is drawn while it takes shape.");
}

void ProjectionPanel::draw_lines_combo(const ProjectionView& view) {
    if (view.settings.source == ProjectionSource::file) return;
    static constexpr const char* kLines[] = {"no lines", "token by token", "layer by layer"};
    const bool stacked = view.settings.arrangement == ProjectionArrangement::stacked;
    if (!stacked && lines_ == Lines::layers) lines_ = Lines::tokens;
    flow(8 * em());
    ImGui::SetNextItemWidth(8 * em());
    int lines = static_cast<int>(lines_);
    if (ImGui::Combo("##lines", &lines, kLines, stacked ? 3 : 2)) lines_ = static_cast<Lines>(lines);
    tooltip(
        "Lines with arrowheads join each token to the next of its path (pale: into a branch), or the same token from "
        "layer to layer. Heads are left out where the line is too short for one.");
}

void ProjectionPanel::draw_look(Frame& frame, const ProjectionView& view) {
    const std::vector<MapColour> there = map_colours(view);
    const bool labelled = colour_ == MapColour::label && label_ < view.points->label_names.size();
    const std::string shown = labelled ? view.points->label_names[label_] : map_colour_name(colour_);
    flow(8.4f * em());
    ImGui::SetNextItemWidth(8.4f * em());
    if (ImGui::BeginCombo("##colour", drawable(shown).c_str())) {
        for (const MapColour by : there) {
            if (by != MapColour::label) {
                if (ImGui::Selectable(map_colour_name(by), by == colour_)) colour_ = by;
                continue;
            }
            for (size_t c = 0; c < view.points->label_names.size(); ++c)
                if (ImGui::Selectable(drawable(view.points->label_names[c]).c_str(), by == colour_ && c == label_))
                    colour_ = by, label_ = c;
        }
        ImGui::EndCombo();
    }
    tooltip(
        "What the colour of a point means; the legend is below. Clusters are there when the settings ask for them.");
    draw_lines_combo(view);
    static const std::string kTools[] = {"Move", "Lasso"};
    int tool = lasso_tool_ ? 1 : 0;
    flow(button_width("Move") + button_width("Lasso"));
    if (segmented(
            "tool", kTools, tool, 0, {},
            "Move: drag pans (2D) or turns (3D; right button pans), the wheel zooms. Lasso: draw around tokens to "
            "mark them wherever tokens are drawn: Transcript, Anomaly, Trajectory, Attention, Drift, "
            "Patching and Logit lens. Shift adds, Ctrl takes away, a click on nothing clears. Ctrl+click selects one."))
        lasso_tool_ = tool == 1;
    flow(button_width("Variance"));
    ImGui::PushStyleColor(ImGuiCol_Button, components_ ? palette::accent_dim : palette::raised);
    if (ImGui::Button("Variance")) components_ = !components_;
    ImGui::PopStyleColor();
    tooltip("Scree plot, cumulative variance and loadings of the principal components of these points.");
    flow(button_width("Reset view"));
    if (ImGui::Button("Reset view"))
        for (auto& scene : scenes_) scene->canvas.reset_view();
    tooltip("Shows the whole cloud again, without a few outliers that would squeeze the rest together.");
    draw_export(frame, view);
}

void ProjectionPanel::draw_export(Frame& frame, const ProjectionView& view) {
    flow(button_width("Export"));
    if (ImGui::Button("Export")) ImGui::OpenPopup("export map");
    tooltip("The picture as it is now (PNG, SVG), or every point with its labels (CSV).");
    if (!ImGui::BeginPopup("export map")) return;
    const auto picture = [&](const char* ending, auto encode) {
        std::vector<FigureMap> maps;
        for (size_t m = 0; m < view.maps.size(); ++m)
            if (focus_ < 0 || focus_ == static_cast<int>(m))
                maps.push_back({view.maps[m], scenes_[m]->canvas.cameras(), scenes_[m]->colours});
        // What is shown now is what is written, whatever has come when a name is chosen.
        auto draw = [view = frame.snapshot.projection, maps = std::move(maps), legend = coloured_, by = colour_,
                     links = draws_lines(view) ? links_ : std::vector<PathLink>{}, selection = frame.ui.selection] {
            return projection_figure(*view, maps, links, legend, by, selection);
        };
        const auto write = [draw, encode, submit = frame.submit](const std::string& path) {
            submit(command::WriteFile{path, encode(draw())});
        };
        frame.ui.file_question =
            FileQuestion{"Export the map", {ending}, write, "Export", true, std::string("projection") + ending};
    };
    if (ImGui::MenuItem("Picture (PNG)")) picture(".png", [](const Figure& figure) { return to_png(figure, 2); });
    if (ImGui::MenuItem("Picture (SVG)")) picture(".svg", [](const Figure& figure) { return to_svg(figure); });
    const auto table = [submit = frame.submit](const std::string& path) {
        submit(command::Export{"projection.csv", path});
    };
    if (ImGui::MenuItem("Points with labels (CSV)"))
        frame.ui.file_question = FileQuestion{"Export the points", {".csv"}, table, "Export", true, "projection.csv"};
    ImGui::EndPopup();
}

void ProjectionPanel::draw_legend(Frame& frame, const ProjectionView& view) {
    if (!coloured_.classes.empty()) {
        const size_t shown = std::min(coloured_.classes.size(), kClassesShown);
        for (size_t i = 0; i < shown; ++i) {
            const auto& one = coloured_.classes[i];
            const std::string name = drawable(one.name) + " (" + grouped(static_cast<int64_t>(one.points.size())) + ")";
            if (i > 0) flow(swatch_width(name));
            swatch(one.colour, name, "Click to select these points everywhere.");
            if (!ImGui::IsItemHovered() || !ImGui::IsMouseClicked(ImGuiMouseButton_Left)) continue;
            std::vector<TokenRef> tokens;
            for (const uint32_t p : one.points)
                tokens.push_back({view.points->points[p].thought, view.points->points[p].position});
            frame.ui.selection.set(std::move(tokens));
            frame.ui.redraw_after(0);
        }
        if (shown < coloured_.classes.size()) {
            const std::string rest = "and " + std::to_string(coloured_.classes.size() - shown) + " more";
            flow(small_width(rest));
            small_label(rest, palette::text_dim);
        }
    } else if (coloured_.gradient) {
        gradient_legend(map_colour_name(colour_), coloured_.low.c_str(), coloured_.high.c_str(), coloured_.gradient,
                        coloured_.tip.c_str());
    }
}

void ProjectionPanel::draw_figures(const ProjectionView& view) {
    const ProjectionMap& map = shown_map(view);
    const auto drawn = map.places ? static_cast<int64_t>(map.places->size()) : 0;
    std::string tip = "Every point that was asked for is drawn.";
    if (drawn < view.points->asked) {
        tip = view.points->left_out.empty() ? "The rest is not laid out yet."
                                            : "Left out: " + view.points->left_out + " (a setting).";
    }
    if (view.points->followed > 0)
        tip += " " + grouped(view.points->followed) + " of them came after the map was made and were placed in it.";
    const bool running = view.state == ProjectionState::running;
    if (running)
        figure("", view.stage + printed(", %.0f %%", 100 * view.progress), palette::accent,
               "What the job does now; Cancel keeps the map as it is.", true);
    figure("drawn", grouped(drawn) + " of " + grouped(view.points->asked), palette::text, tip.c_str(), !running);
    const auto colour = [](double value) {
        return std::isnan(value) ? palette::text_dim
               : value >= 0.9    ? palette::good
               : value >= 0.8    ? palette::warning
                                 : palette::bad;
    };
    const std::string on =
        "k = " + std::to_string(map.quality_neighbors) + ", measured on " + grouped(map.quality_rows) + " points.";
    const std::string trust =
        "Venna & Kaski 2001, as scikit-learn: 1 where every neighbour on the map is one among the points; lower where "
        "the map shows neighbours that are none. " +
        on;
    const std::string continuity =
        "1 where every neighbour among the points is one on the map; lower where the map tears neighbours apart. " + on;
    figure("trustworthiness", std::isnan(map.trustworthiness) ? "-" : printed("%.3f", map.trustworthiness),
           colour(map.trustworthiness), trust.c_str());
    figure("continuity", std::isnan(map.continuity) ? "-" : printed("%.3f", map.continuity), colour(map.continuity),
           continuity.c_str());
    if (map.clusters)
        figure("clusters", std::to_string(map.cluster_count), palette::text, "Found by the method in the settings.");
    if (!std::isnan(map.neighbour_recall))
        figure("neighbours by HNSW, recall", printed("%.3f", map.neighbour_recall), palette::text,
               "The share of the true nearest neighbours that the approximate search found, measured on 100 points.");
    figure("columns", grouped(map.columns), palette::text, "Numbers that each point had before it was projected.");
    figure(
        "took", format_duration(view.seconds), palette::text,
        view.state == ProjectionState::cancelled ? "Until it was cancelled." : "From the command to the finished map.");
    if (view.state == ProjectionState::cancelled)
        figure("", "cancelled: kept as it was", palette::warning, "The layout was stopped; Project starts it again.");
}

// How many are selected, and how they differ from the rest.
void ProjectionPanel::draw_selection(Frame& frame, const ProjectionView& view) {
    TokenSelection& selection = frame.ui.selection;
    if (selection.empty()) return;
    double inside[2] = {0, 0}, outside[2] = {0, 0};
    int64_t counts[4] = {0, 0, 0, 0};
    std::string text;
    for (const ProjectionPoint& point : view.points->points) {
        const bool in = selection.contains(point.thought, point.position);
        const float values[2] = {point.log_probability, point.anomaly};
        for (int k = 0; k < 2; ++k)
            if (!std::isnan(values[k])) (in ? inside : outside)[k] += values[k], ++counts[in ? k : 2 + k];
        if (in && point.part <= 0 && text.size() < 4000) text += point.text;
    }
    const auto mean = [&](double sum, int64_t count) { return count > 0 ? sum / static_cast<double>(count) : NAN; };
    const auto selected = static_cast<int64_t>(selection.tokens().size());
    figure("", grouped(selected) + (selected == 1 ? " selected" : " selected"), palette::accent,
           "Marked in the transcript, the trajectory and the anomaly map too.", true);
    if (counts[0] > 0)
        figure("log-probability",
               printed("%.2f", mean(inside[0], counts[0])) + " (others " +
                   printed("%.2f", mean(outside[0], counts[2])) + ")",
               palette::text, "Mean over the selected tokens and over all others of the map, in nats.");
    if (counts[1] > 0)
        figure("anomaly",
               printed("%.0f", mean(inside[1], counts[1])) + " (others " +
                   printed("%.0f", mean(outside[1], counts[3])) + ")",
               palette::text, "Mean percentile of the selected tokens and of all others of the map.");
    flow(button_width("Clear"));
    if (ImGui::SmallButton("Clear")) selection.clear();
    tooltip("Selects nothing.");
    flow(button_width("Copy"));
    if (ImGui::SmallButton("Copy")) ImGui::SetClipboardText(text.c_str());
    tooltip("Copies the selected tokens' text, in order.");
}

void ProjectionPanel::draw_body(Frame& frame, const ProjectionView& view) {
    ImVec2 room = ImGui::GetContentRegionAvail();
    if (!components_) return draw_maps(frame, view, room);
    const float gap = ImGui::GetStyle().ItemSpacing.x;
    const bool beside = room.x > 32 * em();
    const ImVec2 strip =
        beside ? ImVec2(std::clamp(0.34f * room.x, 14 * em(), 22 * em()), room.y) : ImVec2(room.x, 0.45f * room.y);
    const ImVec2 left = beside ? ImVec2(room.x - strip.x - gap, room.y)
                               : ImVec2(room.x, room.y - strip.y - ImGui::GetStyle().ItemSpacing.y);
    const ImVec2 start = ImGui::GetCursorScreenPos();
    draw_maps(frame, view, left);
    ImGui::SetCursorScreenPos(beside ? ImVec2(start.x + left.x + gap, start.y)
                                     : ImVec2(start.x, start.y + left.y + ImGui::GetStyle().ItemSpacing.y));
    draw_components(shown_map(view), component_, strip);
}

void ProjectionPanel::draw(Frame& frame) {
    const Snapshot& snapshot = frame.snapshot;
    if (snapshot.session.opened != session_) {
        if (session_ >= 0) settings_.thoughts.clear(), frame.ui.selection.clear();
        if (settings_.scope == ProjectionScope::chosen) settings_.scope = ProjectionScope::path;
        session_ = snapshot.session.opened;
    }
    form_.draw(frame, settings_);
    draw_run(frame);
    const auto& view = snapshot.projection;
    if (!view || view->maps.empty()) {
        const std::string missing = hindrance(snapshot, settings_);
        if (view && view->state == ProjectionState::failed)
            empty_state("That could not be projected", drawable(view->error).c_str());
        else if (view && view->state == ProjectionState::running)
            empty_state(("Working: " + view->stage).c_str(), "The map appears while it takes shape.");
        else if (!missing.empty())
            empty_state("No map yet", ("To make one, " + missing + ".").c_str());
        else if (empty_state("No map yet",
                             "Project lays out every token's latent as a point, so that like tokens lie together. It "
                             "runs in the background, and tokens that come later are placed in it.",
                             "Project now"))
            frame.submit(command::Project{settings_});
        view_ = nullptr;
        return;
    }
    follow(frame, *view);
    draw_look(frame, *view);
    draw_legend(frame, *view);
    draw_figures(*view);
    draw_selection(frame, *view);
    draw_body(frame, *view);
}

std::vector<std::pair<std::string, std::function<void(Frame&)>>> ProjectionPanel::actions() {
    return {{"Project the tokens on a map", [this](Frame& frame) { frame.submit(command::Project{settings_}); }},
            {"Clear the selection of tokens", [](Frame& frame) { frame.ui.selection.clear(); }}};
}

}  // namespace savepoint::views
