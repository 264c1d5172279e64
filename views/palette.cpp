#include "views/palette.h"

#include <algorithm>
#include <cmath>
#include <iterator>

namespace savepoint::views {

namespace palette {
const ImU32 background = IM_COL32(14, 17, 22, 255);
const ImU32 panel = IM_COL32(21, 25, 31, 255);
const ImU32 raised = IM_COL32(32, 38, 47, 255);
const ImU32 border = IM_COL32(47, 55, 67, 255);
const ImU32 text = IM_COL32(222, 228, 236, 255);
const ImU32 text_dim = IM_COL32(148, 159, 175, 255);
const ImU32 accent = IM_COL32(122, 174, 247, 255);
const ImU32 accent_dim = IM_COL32(43, 71, 112, 255);
const ImU32 good = IM_COL32(112, 199, 144, 255);
const ImU32 warning = IM_COL32(230, 184, 92, 255);
const ImU32 bad = IM_COL32(239, 120, 116, 255);
const ImU32 before = IM_COL32(158, 171, 189, 255);
const ImU32 control = IM_COL32(96, 186, 224, 255);
const ImU32 edited = IM_COL32(245, 165, 92, 255);

ImU32 edge(EdgeKind kind) {
    switch (kind) {
        case EdgeKind::root:
            return before;
        case EdgeKind::continuation:
            return IM_COL32(110, 168, 240, 255);
        case EdgeKind::intervention:
            return edited;
        case EdgeKind::counterfactual:
            return IM_COL32(190, 150, 245, 255);
        case EdgeKind::merge:
            return IM_COL32(98, 204, 172, 255);
        case EdgeKind::decoded:
            return IM_COL32(226, 208, 110, 255);
    }
    return before;
}

ImU32 thought(int64_t id) {
    // The golden angle keeps neighbouring ids far apart in hue.
    const float hue = std::fmod(0.58f + 0.381966f * static_cast<float>(id % 4096), 1.0f);
    return ImColor::HSV(hue, 0.52f, 0.93f);
}
}  // namespace palette

namespace {

struct Stop {
    float r, g, b;
};

constexpr Stop kMagma[] = {{20, 14, 54},   {59, 15, 112},  {100, 26, 128},  {140, 41, 129},  {183, 55, 121},
                           {222, 73, 104}, {247, 112, 92}, {254, 159, 109}, {254, 207, 146}, {252, 247, 190}};
constexpr Stop kDiverging[] = {{94, 176, 250}, {60, 130, 205}, {44, 84, 132},  {40, 50, 66},  {44, 48, 56},
                               {66, 52, 42},   {134, 82, 40},  {205, 120, 48}, {252, 168, 88}};
// Even steps of lightness from a calm teal to a loud coral, so that surprise draws the eye also without hue.
constexpr Stop kSurprise[] = {{27, 46, 56},   {38, 70, 78},   {70, 92, 76},   {122, 112, 62},
                              {178, 120, 58}, {222, 120, 76}, {250, 128, 118}};

template <size_t N>
ImU32 sample(const Stop (&stops)[N], float value) {
    const float at = std::clamp(value, 0.0f, 1.0f) * (N - 1);
    const size_t low = std::min<size_t>(static_cast<size_t>(at), N - 2);
    const float mix = at - static_cast<float>(low);
    const auto blend = [mix](float a, float b) { return static_cast<int>(std::lround(a + mix * (b - a))); };
    const Stop &a = stops[low], &b = stops[low + 1];
    return IM_COL32(blend(a.r, b.r), blend(a.g, b.g), blend(a.b, b.b), 255);
}

constexpr ImU32 kUnknown = IM_COL32(52, 57, 66, 255);

}  // namespace

ImU32 sequential(float value) { return std::isnan(value) ? kUnknown : sample(kMagma, value); }

ImU32 diverging(float value) { return std::isnan(value) ? kUnknown : sample(kDiverging, value); }

float surprise_scale(float nats) { return std::sqrt(std::clamp(-nats / 10.0f, 0.0f, 1.0f)); }

ImU32 log_probability_colour(float nats) {
    return std::isnan(nats) ? kUnknown : sample(kSurprise, surprise_scale(nats));
}

ImU32 with_alpha(ImU32 colour, float alpha) {
    const auto a = static_cast<ImU32>(std::lround(255 * std::clamp(alpha, 0.0f, 1.0f)));
    return (colour & ~IM_COL32_A_MASK) | (a << IM_COL32_A_SHIFT);
}

ImU32 readable_on(ImU32 background) {
    const auto linear = [background](int shift) {
        const float c = static_cast<float>((background >> shift) & 255) / 255;
        return c <= 0.04045f ? c / 12.92f : std::pow((c + 0.055f) / 1.055f, 2.4f);
    };
    // WCAG relative luminance; black and white contrast equally at 0.179.
    const float luminance =
        0.2126f * linear(IM_COL32_R_SHIFT) + 0.7152f * linear(IM_COL32_G_SHIFT) + 0.0722f * linear(IM_COL32_B_SHIFT);
    return luminance > 0.179f ? IM_COL32(10, 12, 16, 255) : IM_COL32(240, 243, 248, 255);
}

}  // namespace savepoint::views
