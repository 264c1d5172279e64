// Figures as pixels: each shape covers a pixel by how far its edge is from the pixel's centre.

#define STB_IMAGE_WRITE_IMPLEMENTATION
#define STB_IMAGE_WRITE_STATIC
#include <imgui_internal.h>
#include <stb_image_write.h>

#include <algorithm>
#include <cmath>
#include <stdexcept>

#include "views/figure.h"

namespace savepoint::views {
namespace {

using Shape = Figure::Shape;

float channel(ImU32 colour, int shift) { return static_cast<float>(colour >> shift & 255); }

ImU32 blend(ImU32 a, ImU32 b, float t) {
    ImU32 mixed = 0;
    for (const int shift : {0, 8, 16, 24})
        mixed |= static_cast<ImU32>(std::lround(channel(a, shift) + t * (channel(b, shift) - channel(a, shift))))
                 << shift;
    return mixed;
}

class Raster {
   public:
    Raster(const Figure& figure, float scale)
        : scale_(scale),
          width_(std::max(1, static_cast<int>(std::lround(figure.width * scale)))),
          height_(std::max(1, static_cast<int>(std::lround(figure.height * scale)))),
          pixels_(static_cast<size_t>(width_) * static_cast<size_t>(height_), figure.background | IM_COL32_A_MASK) {
        for (const Shape& shape : figure.shapes) draw(shape);
    }
    int width() const { return width_; }
    int height() const { return height_; }
    const ImU32* pixels() const { return pixels_.data(); }

   private:
    void put(int x, int y, ImU32 colour, float cover) {
        if (x < 0 || y < 0 || x >= width_ || y >= height_ || cover <= 0) return;
        ImU32& pixel = pixels_[static_cast<size_t>(y) * width_ + x];
        const float alpha = std::min(cover, 1.0f) * channel(colour, IM_COL32_A_SHIFT) / 255;
        pixel = blend(pixel, colour, alpha) | IM_COL32_A_MASK;
    }
    // cover(x, y) of pixels whose centres are in a box; colour(x, y).
    template <class Cover, class Colour>
    void fill(ImVec2 low, ImVec2 high, Cover cover, Colour colour) {
        const int x0 = std::max(0, static_cast<int>(std::floor(low.x - 1))),
                  y0 = std::max(0, static_cast<int>(std::floor(low.y - 1)));
        const int x1 = std::min(width_ - 1, static_cast<int>(std::ceil(high.x + 1)));
        const int y1 = std::min(height_ - 1, static_cast<int>(std::ceil(high.y + 1)));
        for (int y = y0; y <= y1; ++y)
            for (int x = x0; x <= x1; ++x) {
                const float px = static_cast<float>(x) + 0.5f, py = static_cast<float>(y) + 0.5f;
                const float c = cover(px, py);
                if (c > 0) put(x, y, colour(px, py), c);
            }
    }
    void draw(const Shape& shape);
    void draw_text(const Shape& shape);

    float scale_;
    int width_, height_;
    std::vector<ImU32> pixels_;
};

void Raster::draw(const Shape& s) {
    const auto scaled = [&](ImVec2 p) { return ImVec2(p.x * scale_, p.y * scale_); };
    const ImVec2 a = scaled(s.a), b = scaled(s.b), c = scaled(s.c);
    const float size = s.size * scale_;
    const auto plain = [&](float, float) { return s.colour; };
    switch (s.kind) {
        case Shape::Kind::disc:
            fill(
                {a.x - size, a.y - size}, {a.x + size, a.y + size},
                [&](float x, float y) { return size + 0.5f - std::hypot(x - a.x, y - a.y); }, plain);
            break;
        case Shape::Kind::line: {
            const float dx = b.x - a.x, dy = b.y - a.y, squared = std::max(1e-12f, dx * dx + dy * dy);
            const auto along = [&](float x, float y) {
                return std::clamp(((x - a.x) * dx + (y - a.y) * dy) / squared, 0.0f, 1.0f);
            };
            fill(
                {std::min(a.x, b.x) - size, std::min(a.y, b.y) - size},
                {std::max(a.x, b.x) + size, std::max(a.y, b.y) + size},
                [&](float x, float y) {
                    const float t = along(x, y);
                    return size / 2 + 0.5f - std::hypot(x - a.x - t * dx, y - a.y - t * dy);
                },
                [&](float x, float y) { return blend(s.colour, s.end_colour, along(x, y)); });
            break;
        }
        case Shape::Kind::triangle: {
            const auto edge = [](ImVec2 p, ImVec2 q, float x, float y) {
                const float length = std::max(1e-6f, std::hypot(q.x - p.x, q.y - p.y));
                return ((q.x - p.x) * (y - p.y) - (q.y - p.y) * (x - p.x)) / length;
            };
            const float turn = edge(a, b, c.x, c.y) < 0 ? -1.0f : 1.0f;
            fill(
                {std::min({a.x, b.x, c.x}), std::min({a.y, b.y, c.y})},
                {std::max({a.x, b.x, c.x}), std::max({a.y, b.y, c.y})},
                [&](float x, float y) {
                    return 0.5f + std::min({turn * edge(a, b, x, y), turn * edge(b, c, x, y), turn * edge(c, a, x, y)});
                },
                plain);
            break;
        }
        case Shape::Kind::box:
            fill(
                a, b,
                [&](float x, float y) {
                    return std::min({x - a.x, b.x - x, y - a.y, b.y - y}) + 0.5f;
                },
                plain);
            break;
        case Shape::Kind::text:
            draw_text(s);
            break;
    }
}

void Raster::draw_text(const Shape& s) {
    ImFont* font = ImGui::GetFont();
    const float size = s.size * scale_;
    ImFontBaked* baked = font->GetFontBaked(size);
    float x = s.a.x * scale_ - s.align * font->CalcTextSizeA(size, FLT_MAX, 0, s.text.c_str()).x;
    const char *at = s.text.c_str(), *end = at + s.text.size();
    while (at < end) {
        unsigned int code = 0;
        at += std::max(1, ImTextCharFromUtf8(&code, at, end));
        const ImFontGlyph* glyph = baked->FindGlyph(static_cast<ImWchar>(code));
        // Loading a glyph may have moved all into another texture.
        const ImTextureData* texture = font->OwnerAtlas->TexData;
        if (glyph == nullptr || texture == nullptr || texture->Pixels == nullptr) continue;
        const int u = static_cast<int>(std::lround(glyph->U0 * static_cast<float>(texture->Width)));
        const int v = static_cast<int>(std::lround(glyph->V0 * static_cast<float>(texture->Height)));
        const int columns = static_cast<int>(std::lround((glyph->U1 - glyph->U0) * static_cast<float>(texture->Width)));
        const int rows = static_cast<int>(std::lround((glyph->V1 - glyph->V0) * static_cast<float>(texture->Height)));
        const int left = static_cast<int>(std::lround(x + glyph->X0));
        const int top = static_cast<int>(std::lround(s.a.y * scale_ + glyph->Y0));
        for (int row = 0; glyph->Visible && row < rows; ++row)
            for (int column = 0; column < columns; ++column) {
                const auto* from =
                    static_cast<const unsigned char*>(texture->Pixels) +
                    (static_cast<size_t>(v + row) * texture->Width + u + column) * texture->BytesPerPixel;
                put(left + column, top + row, s.colour, static_cast<float>(from[texture->BytesPerPixel - 1]) / 255);
            }
        x += glyph->AdvanceX;
    }
}

void append(void* to, void* data, int size) {
    static_cast<std::string*>(to)->append(static_cast<const char*>(data), static_cast<size_t>(size));
}

}  // namespace

std::string to_png(const Figure& figure, float scale) {
    const Raster raster(figure, scale);
    std::string out;
    if (stbi_write_png_to_func(append, &out, raster.width(), raster.height(), 4, raster.pixels(), 4 * raster.width()) ==
        0)
        throw std::runtime_error("the picture could not be encoded");
    return out;
}

}  // namespace savepoint::views
