#include "core/sidecar/reference_text.h"

#include <algorithm>
#include <array>
#include <string>

#include "core/model/utf8.h"

namespace savepoint {

namespace {

constexpr size_t kOpeningTokens = 16;

// The bytes of whole characters: a cut between tokens may fall inside one.
std::string whole_characters(std::string text) {
    while (const auto bad = first_invalid_utf8(text)) text.erase(*bad, 1);
    return text;
}

std::vector<TokenId> as_chat(const Tokenizer& tokenizer, const std::vector<TokenId>& ids) {
    const std::vector<TokenId>& start = tokenizer.start();
    const bool begins = ids.size() >= start.size() && std::equal(start.begin(), start.end(), ids.begin());
    const std::span<const TokenId> all = std::span(ids).subspan(begins ? start.size() : 0);
    const size_t opening = std::min(kOpeningTokens, all.size() / 2);
    const std::array<ChatMessage, 2> turns{
        ChatMessage{"user", whole_characters(tokenizer.decode(all.first(opening)))},
        ChatMessage{"assistant", whole_characters(tokenizer.decode(all.subspan(opening)))}};
    return tokenizer.encode_start(tokenizer.apply_chat_template(turns, /*add_generation_prompt=*/false));
}

}  // namespace

void lay_out_as_reference_text(const Tokenizer& tokenizer, std::vector<std::vector<TokenId>>& sequences) {
    lay_out_as_chat(tokenizer, sequences, 3);
}

void lay_out_as_chat(const Tokenizer& tokenizer, std::vector<std::vector<TokenId>>& sequences, size_t every) {
    if (!tokenizer.has_chat_template()) return;
    for (size_t i = 0; i < sequences.size(); i += every) {
        std::vector<TokenId> chat = as_chat(tokenizer, sequences[i]);
        if (chat.size() < sequences[i].size()) continue;
        chat.resize(sequences[i].size());
        sequences[i] = std::move(chat);
    }
}

}  // namespace savepoint
