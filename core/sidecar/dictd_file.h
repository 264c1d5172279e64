#pragma once

#include <string>
#include <vector>

namespace savepoint {

// Articles of a dictionary as dictd keeps it (dictd(8)): NAME.index has a line for each headword, its article's offset
// and length in base 64 digits behind tabs; NAME.dict.dz is the text, in a form that gzip reads. Each article once, in
// the text's order, its lines joined into paragraphs; what describes the database ("00-...") is left out.
// base: path of both without their endings. Throws FileError.
std::vector<std::string> read_dictd(const std::string& base);

}  // namespace savepoint
