#pragma once

#include <cstddef>
#include <string>

namespace savepoint {

std::string sha256_hex(const void* bytes, size_t count);  // lower case
inline std::string sha256_hex(const std::string& bytes) { return sha256_hex(bytes.data(), bytes.size()); }

}  // namespace savepoint
