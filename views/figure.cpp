#include "views/figure.h"

#include <cstdio>

namespace savepoint::views {
namespace {

using Shape = Figure::Shape;

std::string paint(const char* attribute, ImU32 colour) {
    char text[96];
    const unsigned alpha = colour >> IM_COL32_A_SHIFT & 255;
    std::snprintf(text, sizeof text, " %s=\"#%02x%02x%02x\"", attribute, colour >> IM_COL32_R_SHIFT & 255,
                  colour >> IM_COL32_G_SHIFT & 255, colour >> IM_COL32_B_SHIFT & 255);
    if (alpha == 255) return text;
    char more[48];
    std::snprintf(more, sizeof more, " %s-opacity=\"%.3f\"", attribute, alpha / 255.0);
    return std::string(text) + more;
}

ImU32 halfway(ImU32 a, ImU32 b) {
    ImU32 mixed = 0;
    for (const int shift : {0, 8, 16, 24}) mixed |= (((a >> shift & 255) + (b >> shift & 255)) / 2) << shift;
    return mixed;
}

std::string escaped(const std::string& text) {
    std::string out;
    for (const char c : text) {
        if (c == '&')
            out += "&amp;";
        else if (c == '<')
            out += "&lt;";
        else if (c == '>')
            out += "&gt;";
        else if (static_cast<unsigned char>(c) >= 0x20)
            out += c;
    }
    return out;
}

template <typename... Args>
std::string printed(const char* format, Args... args) {
    char text[256];
    std::snprintf(text, sizeof text, format, args...);
    return text;
}

std::string svg_of(const Shape& s) {
    switch (s.kind) {
        case Shape::Kind::disc:
            return printed("<circle cx=\"%.2f\" cy=\"%.2f\" r=\"%.2f\"", s.a.x, s.a.y, s.size) +
                   paint("fill", s.colour) + "/>\n";
        case Shape::Kind::line:
            return printed("<line x1=\"%.2f\" y1=\"%.2f\" x2=\"%.2f\" y2=\"%.2f\" stroke-width=\"%.2f\"", s.a.x, s.a.y,
                           s.b.x, s.b.y, s.size) +
                   paint("stroke", halfway(s.colour, s.end_colour)) + "/>\n";
        case Shape::Kind::triangle:
            return printed("<path d=\"M%.2f %.2fL%.2f %.2fL%.2f %.2fZ\"", s.a.x, s.a.y, s.b.x, s.b.y, s.c.x, s.c.y) +
                   paint("fill", s.colour) + "/>\n";
        case Shape::Kind::box:
            return printed("<rect x=\"%.2f\" y=\"%.2f\" width=\"%.2f\" height=\"%.2f\"", s.a.x, s.a.y, s.b.x - s.a.x,
                           s.b.y - s.a.y) +
                   paint("fill", s.colour) + "/>\n";
        case Shape::Kind::text: {
            const char* anchor = s.align == 0 ? "start" : s.align == 1 ? "end" : "middle";
            return printed("<text x=\"%.2f\" y=\"%.2f\" font-size=\"%.2f\" text-anchor=\"%s\" xml:space=\"preserve\"",
                           s.a.x, s.a.y + 0.8f * s.size, s.size, anchor) +
                   paint("fill", s.colour) + ">" + escaped(s.text) + "</text>\n";
        }
    }
    return {};
}

}  // namespace

void Figure::disc(ImVec2 at, float radius, ImU32 colour) {
    shapes.push_back({Shape::Kind::disc, at, {}, {}, radius, colour, colour, 0, {}});
}
void Figure::line(ImVec2 from, ImVec2 to, ImU32 from_colour, ImU32 to_colour, float thick) {
    shapes.push_back({Shape::Kind::line, from, to, {}, thick, from_colour, to_colour, 0, {}});
}
void Figure::triangle(ImVec2 a, ImVec2 b, ImVec2 c, ImU32 colour) {
    shapes.push_back({Shape::Kind::triangle, a, b, c, 1, colour, colour, 0, {}});
}
void Figure::box(ImVec2 low, ImVec2 high, ImU32 colour) {
    shapes.push_back({Shape::Kind::box, low, high, {}, 1, colour, colour, 0, {}});
}
void Figure::text(ImVec2 at, float size, ImU32 colour, std::string text, float align) {
    shapes.push_back({Shape::Kind::text, at, {}, {}, size, colour, colour, align, std::move(text)});
}

std::string to_svg(const Figure& figure) {
    std::string out = printed(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%.0f\" height=\"%.0f\" viewBox=\"0 0 %.0f %.0f\" "
        "font-family=\"Inter, Noto Sans, sans-serif\">\n",
        figure.width, figure.height, figure.width, figure.height);
    out += "<rect width=\"100%\" height=\"100%\"" + paint("fill", figure.background) + "/>\n";
    for (const Shape& shape : figure.shapes) out += svg_of(shape);
    return out + "</svg>\n";
}

}  // namespace savepoint::views
