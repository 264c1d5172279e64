#pragma once

#include <functional>

#include "core/workbench/workbench.h"
#include "tests/views/harness.h"

// What tests of the whole program share: one workbench over a real model, and how to type a prompt.

namespace savepoint::test {

constexpr double kPatience = 300;  // seconds; a sidecar may have to be fitted first

// One workbench for the tests of a harness: loading a model for each would take minutes.
Workbench& workbench(Harness& harness, bool anew = false);
// A test that starts once the model is loaded.
void add_program_test(Harness& harness, const char* name,
                      std::function<void(ImGuiTestContext* ctx, Harness& harness)> body);

ImGuiTestRef child(ImGuiTestContext* ctx, const char* path);
bool settled(const Snapshot& snapshot);
void check_no_errors(const Harness& harness);
void set_length(ImGuiTestContext* ctx, int tokens);
void type_prompt(ImGuiTestContext* ctx, const char* prompt);
int64_t first_generated(const Snapshot& snapshot);
// Types it, generates so many tokens, and waits.
void generate(ImGuiTestContext* ctx, Harness& harness, const char* prompt, int tokens);
// The same as raw text, without a chat template.
void generate_raw(ImGuiTestContext* ctx, Harness& harness, const char* prompt, int tokens);
// Leaves nothing behind.
void discard_session(ImGuiTestContext* ctx, Harness& harness);

}  // namespace savepoint::test
