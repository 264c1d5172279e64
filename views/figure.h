#pragma once

#include <imgui.h>

#include <string>
#include <vector>

namespace savepoint::views {

// A picture as shapes, in the order in which they are drawn: written as SVG, or as pixels. One description, so that
// both show the same. Units are pixels at scale 1; the first row is at the top.
struct Figure {
    struct Shape {
        enum class Kind { disc, line, triangle, box, text } kind = Kind::disc;
        ImVec2 a{}, b{}, c{};  // disc: centre a; line: a to b; box: corners a, b; text: a is its top
        float size = 1;        // disc: radius; line: width; text: height of the font
        ImU32 colour = 0;      // with alpha
        ImU32 end_colour = 0;  // line: at b
        float align = 0;       // text: 0 left of a, 0.5 centred, 1 right-aligned
        std::string text;
    };
    float width = 0, height = 0;
    ImU32 background = 0;
    std::vector<Shape> shapes;

    void disc(ImVec2 at, float radius, ImU32 colour);
    void line(ImVec2 from, ImVec2 to, ImU32 from_colour, ImU32 to_colour, float width);
    void triangle(ImVec2 a, ImVec2 b, ImVec2 c, ImU32 colour);
    void box(ImVec2 low, ImVec2 high, ImU32 colour);
    void text(ImVec2 at, float size, ImU32 colour, std::string text, float align = 0);
};

std::string to_svg(const Figure& figure);
// Within a frame: text is drawn with the current font.
std::string to_png(const Figure& figure, float scale);

}  // namespace savepoint::views
