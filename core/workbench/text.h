#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "core/sidecar/edit.h"
#include "core/sidecar/sidecar.h"

namespace savepoint {

// Bytes as displayable UTF-8: what is not part of a complete, valid character becomes <0xE4>; control
// characters other than newline and tab likewise.
std::string displayable(std::string_view bytes);
// The first characters on one line: runs of white space become one space, "..." marks what was cut.
std::string one_line(std::string_view text, size_t characters);
std::string csv_field(std::string_view text);  // quoted where it must be (RFC 4180)
std::string csv_number(double value);          // shortest form that reads back the same float; empty for NaN
std::string fixed(double value, int digits);   // "+2.0" has its sign from signed_fixed
std::string signed_fixed(double value, int digits);

// "blocks 12-15 hidden #3 set to +2.0 sd at 17"; the sidecar names the groups.
std::string describe_edit(const Sidecar& sidecar, const LatentEdit& edit);
std::string describe_edits(const Sidecar& sidecar, const std::vector<LatentEdit>& edits);

}  // namespace savepoint
