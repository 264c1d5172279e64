#include "core/workbench/text.h"

#include <charconv>
#include <cmath>
#include <cstdio>

namespace savepoint {
namespace {

bool is_continuation(unsigned char byte) { return (byte & 0xC0) == 0x80; }

size_t expected_length(unsigned char lead) {
    if (lead < 0x80) return 1;
    if (lead >= 0xC2 && lead < 0xE0) return 2;
    if (lead >= 0xE0 && lead < 0xF0) return 3;
    if (lead >= 0xF0 && lead < 0xF5) return 4;
    return 0;
}

// Overlong forms, surrogates and what lies beyond Unicode differ from good text in the second byte only.
bool good_second(unsigned char lead, unsigned char second) {
    if (lead == 0xE0) return second >= 0xA0;
    if (lead == 0xED) return second < 0xA0;
    if (lead == 0xF0) return second >= 0x90;
    if (lead == 0xF4) return second < 0x90;
    return true;
}

// Length of the valid character at the beginning of `bytes`; 0 when there is none.
size_t character_length(std::string_view bytes) {
    const auto lead = static_cast<unsigned char>(bytes[0]);
    const size_t length = expected_length(lead);
    if (length == 0 || length > bytes.size()) return 0;
    for (size_t i = 1; i < length; ++i)
        if (!is_continuation(static_cast<unsigned char>(bytes[i]))) return 0;
    if (length > 1 && !good_second(lead, static_cast<unsigned char>(bytes[1]))) return 0;
    return length;
}

bool is_control(unsigned char byte) { return (byte < 0x20 && byte != '\n' && byte != '\t') || byte == 0x7F; }

std::string byte_name(unsigned char byte) {
    char name[8];
    std::snprintf(name, sizeof name, "<0x%02X>", byte);
    return name;
}

bool is_space(char c) { return c == ' ' || c == '\n' || c == '\t' || c == '\r'; }

std::string amount_of(const LatentEdit& edit) {
    switch (edit.kind) {
        case EditKind::set:
            return "set to " + signed_fixed(edit.amount, 1) + " sd";
        case EditKind::zero:
            return "zeroed";
        case EditKind::noise:
            return "with noise of " + fixed(edit.amount, 1) + " sd";
        case EditKind::copy:
            break;
        case EditKind::lerp:
            return fixed(100 * edit.amount, 0) + "% of the way (lerp) to";
        case EditKind::slerp:
            return fixed(100 * edit.amount, 0) + "% of the way (slerp) to";
    }
    return "copied from";
}

std::string place_of(const Sidecar& sidecar, const LatentEdit& edit) {
    if (edit.part != LatentPart::hidden && edit.block >= 0) return "block " + std::to_string(edit.block);
    const auto& groups = sidecar.hidden().groups();
    if (edit.group < 0 || edit.group >= static_cast<int64_t>(groups.size()))
        return "group " + std::to_string(edit.group);
    return groups[static_cast<size_t>(edit.group)].label();
}

bool has_source(EditKind kind) { return kind == EditKind::copy || kind == EditKind::lerp || kind == EditKind::slerp; }

std::string tokens_of(const LatentEdit& edit) {
    if (edit.first_token == edit.last_token) return std::to_string(edit.first_token);
    return std::to_string(edit.first_token) + "-" + std::to_string(edit.last_token);
}

}  // namespace

std::string displayable(std::string_view bytes) {
    std::string text;
    while (!bytes.empty()) {
        const size_t length = character_length(bytes);
        const auto lead = static_cast<unsigned char>(bytes[0]);
        const size_t taken = length == 0 ? 1 : length;
        if (length == 0 || is_control(lead))
            text += byte_name(lead);
        else
            text += bytes.substr(0, length);
        bytes.remove_prefix(taken);
    }
    return text;
}

std::string one_line(std::string_view text, size_t characters) {
    std::string line;
    size_t count = 0;
    for (size_t i = 0; i < text.size(); ++i) {
        const char c = is_space(text[i]) ? ' ' : text[i];
        if (c == ' ' && (line.empty() || line.back() == ' ')) continue;
        if (!is_continuation(static_cast<unsigned char>(c)) && ++count > characters) return line + "...";
        line += c;
    }
    if (!line.empty() && line.back() == ' ') line.pop_back();
    return line;
}

std::string csv_field(std::string_view text) {
    if (text.find_first_of(",\"\r\n") == std::string_view::npos) return std::string(text);
    std::string quoted = "\"";
    for (const char c : text) quoted += c == '"' ? std::string("\"\"") : std::string(1, c);
    return quoted + '"';
}

std::string csv_number(double value) {
    if (std::isnan(value)) return {};
    char digits[32];
    const auto end = std::to_chars(digits, digits + sizeof digits, static_cast<float>(value)).ptr;
    return {digits, end};
}

std::string fixed(double value, int digits) {
    char text[64];
    std::snprintf(text, sizeof text, "%.*f", digits, value);
    return text;
}

std::string signed_fixed(double value, int digits) {
    char text[64];
    std::snprintf(text, sizeof text, "%+.*f", digits, value);
    return text;
}

std::string describe_edit(const Sidecar& sidecar, const LatentEdit& edit) {
    std::string text = place_of(sidecar, edit);
    if (!sidecar.joint()) text += " " + to_string(edit.part);
    if (edit.component >= 0) text += " #" + std::to_string(edit.component);
    text += " " + amount_of(edit);
    if (has_source(edit.kind)) {
        text += " thought " + std::to_string(edit.source_thought) + " token " + std::to_string(edit.source_token);
    }
    return text + " at " + tokens_of(edit);
}

std::string describe_edits(const Sidecar& sidecar, const std::vector<LatentEdit>& edits) {
    constexpr size_t kShown = 3;
    std::string text;
    for (size_t i = 0; i < edits.size() && i < kShown; ++i) text += (i ? "; " : "") + describe_edit(sidecar, edits[i]);
    if (edits.size() > kShown) text += "; and " + std::to_string(edits.size() - kShown) + " more";
    return text;
}

}  // namespace savepoint
