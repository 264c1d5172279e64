#include "views/projection_figure.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <numeric>

#include "views/palette.h"
#include "views/projection_form.h"
#include "views/widgets.h"

namespace savepoint::views {
namespace {

constexpr float kMargin = 16, kTitle = 17, kSmall = 12, kLegendRow = 18;
constexpr size_t kLegendClasses = 20, kLabels = 60;

std::string printed(const char* format, double value) {
    char text[64];
    std::snprintf(text, sizeof text, format, value);
    return text;
}

struct Cell {
    ImVec2 low, high;
    std::array<float, 16> matrix;
    bool flat = true;
    ImVec2 at(const Vec3& place) const { return project(matrix, place, low, high).at; }
    bool holds(ImVec2 p) const { return p.x >= low.x && p.x <= high.x && p.y >= low.y && p.y <= high.y; }
};

void draw_arrow(Figure& figure, ImVec2 from, ImVec2 to, ImU32 colour, float gap) {
    const float dx = to.x - from.x, dy = to.y - from.y, length = std::sqrt(dx * dx + dy * dy), size = 5;
    if (length < 2.2f * (size + gap)) return;
    const ImVec2 u{dx / length, dy / length}, tip{to.x - u.x * gap, to.y - u.y * gap};
    const ImVec2 back{tip.x - u.x * size, tip.y - u.y * size};
    figure.triangle(tip, {back.x - u.y * size * 0.42f, back.y + u.x * size * 0.42f},
                    {back.x + u.y * size * 0.42f, back.y - u.x * size * 0.42f}, colour);
}

void draw_cell(Figure& figure, const ProjectionView& view, const FigureMap& one, const Cell& cell,
               const std::vector<PathLink>& links, const TokenSelection& selection) {
    const auto& points = view.points->points;
    const size_t count = one.map.places ? std::min({one.map.places->size(), points.size(), one.colours.size()}) : 0;
    const float radius = std::min(disc_radius(count), cell.high.x - cell.low.x < 400 ? 2.6f : 9.0f);
    std::vector<CloudPoint> discs;
    for (size_t i = 0; i < count; ++i) {
        const bool apart = !selection.empty() && !selection.contains(points[i].thought, points[i].position);
        discs.push_back({(*one.map.places)[i], with_alpha(one.colours[i], apart ? 0.22f : 1), radius});
    }
    std::vector<PathLink> shown;
    for (const PathLink& link : links)
        if (link.from < count && link.to < count) shown.push_back(link);
    for (const CloudLine& line :
         link_lines(shown, count > 0 ? std::span<const Vec3>(*one.map.places) : std::span<const Vec3>(), discs, true)) {
        const ImVec2 a = cell.at(line.from), b = cell.at(line.to);
        if (!cell.holds(a) || !cell.holds(b)) continue;
        figure.line(a, b, line.from_colour, line.to_colour, 0.7f * line.width);
        draw_arrow(figure, a, b, line.to_colour, radius + 1);
    }
    std::vector<uint32_t> order(count);
    std::iota(order.begin(), order.end(), 0u);
    if (!cell.flat) {
        std::vector<float> depth(count);
        for (size_t i = 0; i < count; ++i) depth[i] = project(cell.matrix, discs[i].at, cell.low, cell.high).w;
        std::ranges::stable_sort(order, [&](uint32_t a, uint32_t b) { return depth[a] > depth[b]; });
    }
    for (const uint32_t i : order) {
        const ImVec2 at = cell.at(discs[i].at);
        if (cell.holds(at)) figure.disc(at, radius, discs[i].colour);
    }
    size_t labels = 0;
    for (size_t i = 0; i < count && labels < kLabels; ++i) {
        const ImVec2 at = cell.at(discs[i].at);
        if (!selection.contains(points[i].thought, points[i].position) || !cell.holds(at)) continue;
        figure.text({at.x + radius + 2, at.y - 0.6f * kSmall}, 0.85f * kSmall, palette::text, visible(points[i].text));
        ++labels;
    }
}

void draw_frame(Figure& figure, const ProjectionView& view, const ProjectionMap& map, const Cell& cell) {
    const ImU32 border = palette::border;
    figure.line(cell.low, {cell.high.x, cell.low.y}, border, border, 1);
    figure.line({cell.low.x, cell.high.y}, cell.high, border, border, 1);
    figure.line(cell.low, {cell.low.x, cell.high.y}, border, border, 1);
    figure.line({cell.high.x, cell.low.y}, cell.high, border, border, 1);
    std::string heading = map.label;
    if (!std::isnan(map.trustworthiness)) heading += ", trustworthiness " + printed("%.3f", map.trustworthiness);
    if (!std::isnan(map.continuity)) heading += ", continuity " + printed("%.3f", map.continuity);
    figure.text({cell.low.x, cell.low.y - kSmall - 5}, kSmall, palette::text, heading);
    if (!cell.flat) return;
    const bool pca = view.settings.method == ProjectionMethod::pca;
    const auto axis = [&](size_t k) {
        std::string name = (pca ? "PC" : "UMAP ") + std::to_string(k + 1);
        if (pca && k < map.components.size()) name += printed(", %.0f %%", 100 * map.components[k].explained);
        return name;
    };
    figure.text({cell.high.x - 4, cell.high.y - kSmall - 3}, 0.9f * kSmall, palette::text_dim, axis(0), 1);
    figure.text({cell.low.x + 4, cell.low.y + 3}, 0.9f * kSmall, palette::text_dim, axis(1));
}

float draw_legend(Figure& figure, const ColouredPoints& legend, MapColour by, float y) {
    float x = kMargin;
    if (!legend.classes.empty()) {
        for (size_t i = 0; i < std::min(legend.classes.size(), kLegendClasses); ++i) {
            const std::string name =
                legend.classes[i].name + " (" + std::to_string(legend.classes[i].points.size()) + ")";
            const float width = 16 + ImGui::GetFont()->CalcTextSizeA(kSmall, FLT_MAX, 0, name.c_str()).x + 14;
            if (x > kMargin && x + width > figure.width - kMargin) x = kMargin, y += kLegendRow;
            figure.box({x, y + 1}, {x + 11, y + 12}, legend.classes[i].colour);
            figure.text({x + 16, y}, kSmall, palette::text, name);
            x += width;
        }
        return y + kLegendRow;
    }
    if (!legend.gradient) return y;
    const std::string name = std::string(map_colour_name(by)) + "  " + legend.low;
    figure.text({x, y}, kSmall, palette::text, name);
    x += ImGui::GetFont()->CalcTextSizeA(kSmall, FLT_MAX, 0, name.c_str()).x + 6;
    for (int i = 0; i < 40; ++i)
        figure.box({x + 3 * static_cast<float>(i), y + 2}, {x + 3 * static_cast<float>(i) + 3, y + 12},
                   legend.gradient(static_cast<float>(i) / 39));
    figure.text({x + 126, y}, kSmall, palette::text, legend.high);
    return y + kLegendRow;
}

}  // namespace

std::string describe_projection(const ProjectionView& view) {
    const ProjectionSettings& s = view.settings;
    const bool umap = s.method == ProjectionMethod::umap;
    std::string text = std::string(umap ? "UMAP" : "PCA") + " of " + source_name(s);
    if (s.scope == ProjectionScope::all && s.source != ProjectionSource::file) text += " of all thoughts";
    if (!umap) return text;
    text += "; n_neighbors " + std::to_string(s.umap.neighbors) + ", min_dist " + format_number(s.umap.min_dist) +
            ", " + metric_name(s.umap.metric) + ", seed " + std::to_string(s.umap.seed);
    return text;
}

Figure projection_figure(const ProjectionView& view, const std::vector<FigureMap>& maps,
                         const std::vector<PathLink>& links, const ColouredPoints& legend, MapColour by,
                         const TokenSelection& selection) {
    const size_t count = std::max<size_t>(1, maps.size());
    const auto columns = static_cast<size_t>(std::ceil(std::sqrt(static_cast<double>(count))));
    const size_t rows = (count + columns - 1) / columns;
    const ImVec2 size = count == 1 ? ImVec2(900, 620) : ImVec2(360, 270);
    const float gap = 14, heading = kSmall + 10;
    Figure figure;
    figure.background = palette::background;
    figure.width = 2 * kMargin + static_cast<float>(columns) * size.x + static_cast<float>(columns - 1) * gap;
    float y = kMargin;
    figure.text({kMargin, y}, kTitle, palette::text, describe_projection(view));
    y += kTitle + 6;
    const auto drawn = maps.empty() || !maps[0].map.places ? size_t{0} : maps[0].map.places->size();
    figure.text({kMargin, y}, kSmall, palette::text_dim,
                "drawn " + std::to_string(drawn) + " of " + std::to_string(view.points->asked) + " points" +
                    (view.points->left_out.empty() ? "" : "; left out: " + view.points->left_out));
    y = draw_legend(figure, legend, by, y + kSmall + 8) + 4;
    for (size_t m = 0; m < maps.size(); ++m) {
        const ImVec2 low = {kMargin + static_cast<float>(m % columns) * (size.x + gap),
                            y + heading + static_cast<float>(m / columns) * (size.y + heading + gap)};
        const CloudCamera camera = maps[m].camera(size.x / size.y);
        const Cell cell{low, {low.x + size.x, low.y + size.y}, camera.matrix(size.x / size.y), camera.flat};
        draw_frame(figure, view, maps[m].map, cell);
        draw_cell(figure, view, maps[m], cell, links, selection);
    }
    figure.height = y + static_cast<float>(rows) * (size.y + heading + gap) + kMargin - gap;
    return figure;
}

}  // namespace savepoint::views
