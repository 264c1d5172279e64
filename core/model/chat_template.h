#pragma once

#include <span>
#include <string>

#include "core/model/tokenizer.h"

namespace savepoint {

// Renders a Jinja chat template. Throws InputError with the template engine's words when the template is
// damaged, nested beyond reason, or refuses the messages.
std::string render_chat_template(const std::string& source, std::span<const ChatMessage> messages,
                                 const std::string& bos, const std::string& eos, bool add_generation_prompt);

}  // namespace savepoint
