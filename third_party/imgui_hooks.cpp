// What Dear ImGui calls in a program that is not under the test engine: nothing, and a failed assertion throws.
#include <stdexcept>
#include <string>

#include "imgui.h"
#include "imgui_internal.h"

void ImGuiTestEngineHook_ItemAdd(ImGuiContext*, ImGuiID, const ImRect&, const ImGuiLastItemData*) {}
void ImGuiTestEngineHook_ItemInfo(ImGuiContext*, ImGuiID, const char*, ImGuiItemStatusFlags) {}
void ImGuiTestEngineHook_Log(ImGuiContext*, const char*, ...) {}
const char* ImGuiTestEngine_FindItemDebugLabel(ImGuiContext*, ImGuiID) { return nullptr; }

void savepoint::imgui_assert_failed(const char* expression, const char* file, int line) {
  throw std::logic_error(std::string("Dear ImGui assertion failed: ") + expression + " (" + file + ":" +
                         std::to_string(line) + ")");
}
