#pragma once

#include <string>
#include <vector>

#include "core/model/tokenizer.h"

namespace savepoint {

// How turns of a conversation are given to a model: through its chat template, or, where the model's file has none (a
// base model), as plain text:
//   Instruction: {system}
//   Question: {user}
//   Answer: {assistant}
// Turns that do not end with the assistant's leave it the next word; those that do end within what it is saying.
std::string plain_framing(const std::vector<ChatMessage>& turns);  // InputError on another role
std::vector<TokenId> framed(const Tokenizer& tokenizer, std::vector<ChatMessage> turns);

// "chat template", or "plain text: .." with the words above.
std::string framing_of(const Tokenizer& tokenizer);

// Whether an answer is over before this token: at the end of a turn, and in plain text at a line break.
bool ends_answer(const Tokenizer& tokenizer, TokenId token);

}  // namespace savepoint
