// Under the test engine a failed assertion ends the program, and so the test.
#include <cstdio>
#include <cstdlib>

#include "imgui.h"

void savepoint::imgui_assert_failed(const char* expression, const char* file, int line) {
  std::fprintf(stderr, "Dear ImGui assertion failed: %s (%s:%d)\n", expression, file, line);
  std::abort();
}
