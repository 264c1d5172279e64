#pragma once

#include <imgui.h>

#include <string>

#include "core/workbench/snapshot.h"
#include "views/frame.h"

namespace savepoint::views {

void help_marker(const char* text);                       // a dim (?) with a tooltip
void tooltip(const char* text);                           // for the last item, wrapped
// An empty panel's centre: what is missing and what to do, with an optional button; true when it was pressed.
bool empty_state(const char* headline, const char* advice, const char* button = nullptr);
std::string format_bytes(double bytes);                   // "1.2 MB"
std::string format_number(double value, int digits = 3);  // "0.0123", "-" for NaN
// A colour bar legend with its end labels, for sequential()/diverging() maps.
void colour_legend(const char* label, const char* low, const char* high, bool is_diverging = false);
// The standard tooltip of a token: text, id, position, log-probability, anomaly, error, ten most likely next tokens as bars.
void token_tooltip(const TokenView& token);
std::string visible(const std::string& token_text);       // spaces and newlines made visible: "·", "⏎"

}  // namespace savepoint::views
