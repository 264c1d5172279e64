#include "tests/views/harness.h"

namespace savepoint::test {

void register_workbench_tests(Harness&) {}

}  // namespace savepoint::test
