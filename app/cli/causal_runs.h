#pragma once

#include <string>
#include <vector>

#include "app/cli/commands.h"
#include "core/analysis/alignment.h"
#include "core/analysis/patching.h"

namespace savepoint::cli {

// Two runs to be compared: two thoughts of a session, or two texts.
struct RunArguments {
    std::string session, text_a, text_b;
    int64_t a = -1, b = -1;
    bool chat = false;
};
void add_run_options(CLI::App& command, RunArguments& arguments);

struct RunPair {
    PatchRun a, b;  // ending at their last tokens
    Alignment alignment;
};
// Throws InputError when neither or both ways are given. States of a session come back by replay.
RunPair read_runs(const OpenModel& model, const RunArguments& arguments);

// One run: a thought of a session, or a text. Throws InputError when neither or both are given.
struct OneRunArguments {
    std::string session, text;
    int64_t thought = -1;
    bool chat = false;
};
void add_run_options(CLI::App& command, OneRunArguments& arguments);
StateRun read_run(const OpenModel& model, const OneRunArguments& arguments);
// The id of a text that is one token; throws InputError naming the option.
TokenId one_token(const OpenModel& model, const std::string& text, const char* option);

// {"rule", "shared", "pairs": [{"a", "b", "id_a", "id_b", "text_a", "text_b", "same"}]}
nlohmann::json described(const OpenModel& model, const RunPair& runs);

}  // namespace savepoint::cli
