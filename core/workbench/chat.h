#pragma once

#include <optional>
#include <string>

#include "core/model/tokenizer.h"

namespace savepoint {

// The text of a first turn, up to where the assistant speaks. All throw InputError without a template.
std::string first_turn(const Tokenizer& tokenizer, const std::optional<std::string>& system, const std::string& prompt);
// What the template puts after an assistant's words when the user speaks next: the end of that turn, the
// user's turn, and the beginning of the next answer.
std::string next_turn(const Tokenizer& tokenizer, const std::string& prompt);
// The system prompt that the template puts in by itself; empty when there is none.
std::string default_system_prompt(const Tokenizer& tokenizer);

}  // namespace savepoint
