#include "core/analysis/framing.h"

#include "core/model/error.h"

namespace savepoint {

namespace {

constexpr const char* kAnswer = "Answer:";

std::string plain_turn(const ChatMessage& turn) {
    if (turn.role == "system") return "Instruction: " + turn.content + "\n";
    if (turn.role == "user") return "Question: " + turn.content + "\n";
    if (turn.role == "assistant") return std::string(kAnswer) + " " + turn.content + "\n";
    throw InputError("conversation: role \"" + turn.role + "\" is none of system, user, assistant");
}

}  // namespace

std::string plain_framing(const std::vector<ChatMessage>& turns) {
    std::string text;
    for (const ChatMessage& turn : turns) text += plain_turn(turn);
    if (turns.empty() || turns.back().role != "assistant") return text + kAnswer;
    text.pop_back();  // within what is said
    return text;
}

std::vector<TokenId> framed(const Tokenizer& tokenizer, std::vector<ChatMessage> turns) {
    if (!tokenizer.has_chat_template()) return tokenizer.encode_start(plain_framing(turns), /*parse_special=*/false);
    std::string said;
    if (!turns.empty() && turns.back().role == "assistant") {
        said = turns.back().content;
        turns.pop_back();
    }
    std::vector<TokenId> ids = tokenizer.encode_start(tokenizer.apply_chat_template(turns));
    const std::vector<TokenId> answer = said.empty() ? std::vector<TokenId>{} : tokenizer.encode(said, false);
    ids.insert(ids.end(), answer.begin(), answer.end());
    return ids;
}

std::string framing_of(const Tokenizer& tokenizer) {
    return tokenizer.has_chat_template()
               ? "chat template"
               : "plain text: \"Instruction: ..\", \"Question: ..\", \"Answer: ..\", a line each";
}

bool ends_answer(const Tokenizer& tokenizer, TokenId token) {
    if (tokenizer.ends_generation(token)) return true;
    return !tokenizer.has_chat_template() && tokenizer.piece(token).find('\n') != std::string::npos;
}

}  // namespace savepoint
