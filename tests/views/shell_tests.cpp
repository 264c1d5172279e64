#include "tests/views/harness.h"

namespace savepoint::test {

void register_shell_tests(Harness&) {}

}  // namespace savepoint::test
