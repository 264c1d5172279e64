#include "tests/views/harness.h"

namespace savepoint::test {

void register_panel_tests(Harness&) {}

}  // namespace savepoint::test
