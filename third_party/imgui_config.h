// Dear ImGui's compile-time options, the same for every file that sees it (IMGUI_USER_CONFIG).
//
// ImGui is compiled once, with the test hooks in it: a program then links either deps::imgui, whose
// hooks do nothing, or deps::imgui_test, which is driven by the test engine.
#pragma once

#define ImDrawIdx unsigned int           // heat maps and clouds pass 65,536 vertices
#define IMGUI_USE_WCHAR32                // tokens hold emoji and rare scripts
#define IMGUI_ENABLE_FREETYPE
#define IMGUI_DEFINE_MATH_OPERATORS
#define IMGUI_DISABLE_OBSOLETE_FUNCTIONS
#define IMGUI_ENABLE_TEST_ENGINE

namespace savepoint {

// In the application: throws std::logic_error, which the window shows. In the tests: prints and aborts.
[[noreturn]] void imgui_assert_failed(const char* expression, const char* file, int line);

}  // namespace savepoint

#define IM_ASSERT(expression) \
  ((expression) ? static_cast<void>(0) : ::savepoint::imgui_assert_failed(#expression, __FILE__, __LINE__))
