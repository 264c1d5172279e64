#pragma once

#include <imgui.h>

#include "core/analysis/experiment_result.h"

namespace savepoint::views {

// How scores rise around what was injected mid-text, by token.
enum class InjectionMeasure { mean, above };
void draw_injection_plot(const InjectionCurves& injection, InjectionMeasure measure, ImVec2 size);
// Beside it: for each score, after how many tokens it passes, and how many texts are above.
void draw_injection_table(const InjectionCurves& injection);

}  // namespace savepoint::views
