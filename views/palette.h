#pragma once

#include <imgui.h>

#include "core/state/edge_kind.h"

namespace savepoint::views {

// The dark theme's named colours; all text on them keeps a contrast of at least 4.5:1.
namespace palette {
extern const ImU32 background, panel, raised, border, text, text_dim, accent, accent_dim, good, warning, bad, before,
    control, edited;  // before/control/edited: the three distributions of a preview, everywhere
ImU32 edge(EdgeKind kind);
ImU32 thought(int64_t id);  // a distinct hue per thought, for trajectories
}  // namespace palette

// Perceptually uniform, colour-blind safe maps; value in [0, 1], clamped. NaN: a neutral grey.
ImU32 sequential(float value);             // dark to bright (magma-like): errors, scores
ImU32 diverging(float value);              // 0.5 is neutral
ImU32 log_probability_colour(float nats);  // 0 dark/certain ... -10 bright/surprising
float surprise_scale(float nats);          // where on that map: sqrt(-nats / 10), in [0, 1]
ImU32 with_alpha(ImU32 colour, float alpha);
ImU32 readable_on(ImU32 background);  // black or white text

}  // namespace savepoint::views
