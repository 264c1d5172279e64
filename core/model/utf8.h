#pragma once

#include <cstddef>
#include <optional>
#include <string_view>

namespace savepoint {

// The offset of the first byte that is not part of well-formed UTF-8 (RFC 3629: no overlong forms, no
// surrogates, nothing above U+10FFFF), if any.
std::optional<size_t> first_invalid_utf8(std::string_view text);

}  // namespace savepoint
