#include "core/model/chat_template.h"

#include <jinja/lexer.h>
#include <jinja/parser.h>
#include <jinja/runtime.h>
#include <jinja/value.h>

#include "core/model/error.h"

namespace savepoint {

namespace {

// The parser recurses; a hostile file must not exhaust the stack with it.
constexpr size_t kLongest = 64 * 1024;
constexpr int kDeepest = 64;

void check_template(const std::string& source) {
    if (source.size() > kLongest) throw InputError("tokenizer.chat_template: is longer than 64 KiB");
    int depth = 0;
    for (const char c : source) {
        if (c == '(' || c == '[' || c == '{') ++depth;
        if (c == ')' || c == ']' || c == '}') depth = depth > 0 ? depth - 1 : 0;
        if (depth > kDeepest) throw InputError("tokenizer.chat_template: brackets are nested too deep");
    }
}

jinja::value text_value(const std::string& text) { return jinja::mk_val<jinja::value_string>(text); }

jinja::value message_values(std::span<const ChatMessage> messages) {
    auto list = jinja::mk_val<jinja::value_array>();
    for (const ChatMessage& message : messages) {
        auto entry = jinja::mk_val<jinja::value_object>();
        entry->insert("role", text_value(message.role));
        entry->insert("content", text_value(message.content));
        list->push_back(entry);
    }
    return list;
}

}  // namespace

std::string render_chat_template(const std::string& source, std::span<const ChatMessage> messages,
                                 const std::string& bos, const std::string& eos, bool add_generation_prompt) {
    check_template(source);
    try {
        jinja::lexer lexer;
        jinja::program program = jinja::parse_from_tokens(lexer.tokenize(source));
        jinja::context context(source);
        context.set_val("messages", message_values(messages));
        context.set_val("bos_token", text_value(bos));
        context.set_val("eos_token", text_value(eos));
        context.set_val("add_generation_prompt", jinja::mk_val<jinja::value_bool>(add_generation_prompt));
        jinja::runtime runtime(context);
        return jinja::runtime::gather_string_parts(runtime.execute(program))->as_string().str();
    } catch (const std::exception& problem) {
        throw InputError(std::string("tokenizer.chat_template: ") + problem.what());
    }
}

}  // namespace savepoint
