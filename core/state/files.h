#pragma once

#include <cstdint>
#include <string>

#include "core/state/safetensors.h"

namespace savepoint {

// The two halves of write_atomically, so that many files of one folder share one fsync of it: after
// both, the files are there whole even if the power fails. Throws FileError; leaves no temporary file
// behind unless the process dies, and then one whose name is_temporary() knows.
void replace_file(const std::string& path, const std::string& bytes);
void sync_folder(const std::string& folder);
bool is_temporary(const std::string& file_name);

// The memory this process may have, of the machine and of its control group: what no single file or session
// may exceed when it is read.
int64_t physical_memory();

}  // namespace savepoint
