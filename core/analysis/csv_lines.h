#pragma once

#include <string>
#include <vector>

namespace savepoint {

using CsvLine = std::vector<std::string>;

// RFC 4180: fields may be quoted, and hold commas, line ends and doubled quotes then. Blank lines are left out. Throws
// FileError naming `path` when a quote is never closed.
std::vector<CsvLine> csv_lines(const std::string& path, const std::string& text);

}  // namespace savepoint
