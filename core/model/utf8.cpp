#include "core/model/utf8.h"

#include <cstdint>

namespace savepoint {

namespace {

// The bytes that follow a lead byte, or -1 for a byte that leads nothing.
int following(uint8_t lead) {
    if (lead < 0x80) return 0;
    if (lead >= 0xc2 && lead <= 0xdf) return 1;
    if (lead >= 0xe0 && lead <= 0xef) return 2;
    if (lead >= 0xf0 && lead <= 0xf4) return 3;
    return -1;
}

bool second_fits(uint8_t lead, uint8_t second) {
    if (lead == 0xe0) return second >= 0xa0;
    if (lead == 0xed) return second <= 0x9f;
    if (lead == 0xf0) return second >= 0x90;
    if (lead == 0xf4) return second <= 0x8f;
    return true;
}

}  // namespace

std::optional<size_t> first_invalid_utf8(std::string_view text) {
    for (size_t at = 0; at < text.size();) {
        const auto lead = static_cast<uint8_t>(text[at]);
        const int count = following(lead);
        if (count < 0 || at + count >= text.size()) return at;
        for (int i = 1; i <= count; ++i) {
            const auto byte = static_cast<uint8_t>(text[at + i]);
            if ((byte & 0xc0) != 0x80 || (i == 1 && !second_fits(lead, byte))) return at;
        }
        at += count + 1;
    }
    return std::nullopt;
}

}  // namespace savepoint
