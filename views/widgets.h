#pragma once

#include <imgui.h>

#include <string>
#include <vector>

#include "core/workbench/snapshot.h"
#include "views/frame.h"

namespace savepoint::views {

void help_marker(const char* text);  // a dim (?) with a tooltip
void tooltip(const char* text);      // for the last item, wrapped
// An empty panel's centre: what is missing and what to do, with an optional button; true when it was pressed.
bool empty_state(const char* headline, const char* advice, const char* button = nullptr);
std::string model_name(const ModelView& model);           // its file's name without the ending
std::string format_bytes(double bytes);                   // "1.2 MB"
std::string formatted(const char* format, double value);  // printf's, "-" for NaN and infinity
std::string format_number(double value, int digits = 3);  // "0.0123", "-" for NaN
// A colour bar legend with its end labels, for sequential()/diverging() maps.
void colour_legend(const char* label, const char* low, const char* high, bool is_diverging = false);
// The standard tooltip of a token: text, id, position, log-probability, anomaly, error, attention received (where it is
// known), ten most likely next tokens as bars.
void token_tooltip(const TokenView& token, float attention_mass = NAN);
extern const char* const kAttentionMassTip;  // what it is: formula and unit
// Of the token at a position of the current path; NaN where it is not added up.
float attention_mass_at(const Snapshot& snapshot, int64_t position);
std::string visible(const std::string& token_text);  // spaces and newlines made visible: "·", "⏎"
// Text that the current font can draw: code points that no font has, and control characters, become \u{1F600}.
// Code points that were missing are noted for the app, which may load another font before the next frame.
std::string drawable(const std::string& utf8);
std::vector<ImWchar> take_missing_code_points();  // noted since the last call
ImU32 anomaly_colour(float percentile);           // sequential() of the upper half: below 50 is dark
void property(const char* name, const std::string& value, const char* help = nullptr);  // a row of a 2-column table
void progress_bar(float fraction, const std::string& text, float width);                // fraction < 0: unknown
bool icon_button(const char* id, const char* tip, void (*draw)(ImDrawList*, ImVec2 centre, float radius, ImU32));
const char* edge_name(EdgeKind kind);  // "continuation", ...
// A pennant in the upper left corner of what lies right and below of `corner`: the mark of an anomalous token.
void draw_pennant(ImDrawList* list, ImVec2 corner, float side);
void draw_star(ImDrawList* list, ImVec2 centre, float radius, ImU32 colour, bool filled);
std::string format_duration(double seconds);  // "0.4 s", "2 min 05 s"; "-" for NaN

}  // namespace savepoint::views
