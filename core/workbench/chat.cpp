#include "core/workbench/chat.h"

#include <vector>

#include "core/model/error.h"

namespace savepoint {
namespace {

// Stand-ins that no template rewrites: templates may trim white space, and nothing else.
const std::string kFirst = "q7vUserMarkq7v", kAnswer = "q7vAnswerMarkq7v", kSystem = "q7vSystemMarkq7v";

void require_template(const Tokenizer& tokenizer) {
    if (!tokenizer.has_chat_template())
        throw InputError("this model has no chat template; switch chat off to send raw text");
}

}  // namespace

std::string first_turn(const Tokenizer& tokenizer, const std::optional<std::string>& system,
                       const std::string& prompt) {
    require_template(tokenizer);
    std::vector<ChatMessage> messages;
    if (system) messages.push_back({"system", *system});
    messages.push_back({"user", prompt});
    return tokenizer.apply_chat_template(messages);
}

std::string next_turn(const Tokenizer& tokenizer, const std::string& prompt) {
    require_template(tokenizer);
    const std::vector<ChatMessage> messages = {{"user", kFirst}, {"assistant", kAnswer}, {"user", prompt}};
    const std::string text = tokenizer.apply_chat_template(messages);
    const size_t answer = text.find(kAnswer);
    if (answer == std::string::npos)
        throw InputError("this model's chat template does not take a second turn; switch chat off");
    return text.substr(answer + kAnswer.size());
}

std::string default_system_prompt(const Tokenizer& tokenizer) {
    if (!tokenizer.has_chat_template()) return {};
    const std::vector<ChatMessage> plain = {{"user", kFirst}};
    const std::vector<ChatMessage> with_system = {{"system", kSystem}, {"user", kFirst}};
    const std::string own = tokenizer.apply_chat_template(plain), given = tokenizer.apply_chat_template(with_system);
    const size_t mark = given.find(kSystem), user = given.find(kFirst);
    if (mark == std::string::npos || user == std::string::npos || mark > user) return {};
    const std::string between = given.substr(mark + kSystem.size(), user - mark - kSystem.size());
    const size_t end = own.find(between + kFirst);
    if (end == std::string::npos || end < mark || own.compare(0, mark, given, 0, mark) != 0) return {};
    return own.substr(mark, end - mark);
}

}  // namespace savepoint
