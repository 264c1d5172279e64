#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/model/sampler_settings.h"

namespace savepoint {

struct ChatMessage {
    std::string role;  // "system", "user" or "assistant"
    std::string content;
};

// The vocabulary of a GGUF file through llama.cpp (vocab only) and its chat template through Jinja.
class Tokenizer {
   public:
    explicit Tokenizer(const std::string& gguf_path);  // throws FileError
    ~Tokenizer();
    Tokenizer(const Tokenizer&) = delete;
    Tokenizer& operator=(const Tokenizer&) = delete;

    int64_t size() const;
    // Special tokens written in `text` are parsed when `parse_special`; none is added. Throws
    // InputError when the text is not UTF-8 (naming the byte offset).
    std::vector<TokenId> encode(std::string_view text, bool parse_special = true) const;
    // The same for a text that begins a sequence: start() before it, unless the text brings that itself (as a chat
    // template may).
    std::vector<TokenId> encode_start(std::string_view text, bool parse_special = true) const;
    // What every sequence begins with: the BOS token where the file asks for it (tokenizer.ggml.add_bos_token, read
    // as llama.cpp does, for raw text too), else nothing. A model that was trained with it needs it.
    const std::vector<TokenId>& start() const;
    std::string decode(std::span<const TokenId> ids) const;  // bytes; special tokens as their text
    std::string piece(TokenId id) const;                     // bytes of one token, maybe part of a character
    bool is_special(TokenId id) const;
    bool ends_generation(TokenId id) const;  // end of text or end of turn
    std::string hash() const;                // sha256 over all pieces and the template

    bool has_chat_template() const;
    // The template's own default system prompt stays in force when no system message is given.
    std::string apply_chat_template(std::span<const ChatMessage> messages, bool add_generation_prompt = true) const;

   private:
    struct Impl;
    std::unique_ptr<Impl> impl_;
};

}  // namespace savepoint
