#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "core/analysis/builtin_names.h"
#include "core/analysis/labelled_text.h"
#include "core/model/transformer.h"

namespace savepoint {

// Experiments that need no file; their texts were written for this project (assets/experiments) or come from the
// corpus of `fortunes`.
//   statements     false against true statements, minimal pairs
//   jailbreak      requests that try to switch off the model's rules, against harmless ones in the same frames
//   system_prompt  an answer that breaks the rule of the system prompt, against one that follows it; each answer is
//                  right under one of two prompts and wrong under the other
//   deception      the model told to answer falsely, against truthfully, the same questions
//   hallucination  the model's own answers to short questions: wrong against right
//   gibberish_N      the last N tokens of plain text replaced by random ones, against the text as it was; N is 1, 2, 4,
//   8 repetition_N     the same by its three tokens before, over and over gibberish_N_mid, repetition_N_mid    the same
//   mid-text: it goes on as it was to the 56th token, and is judged there
std::vector<LabelledText> builtin_texts(const std::string& name, const Tokenizer& tokenizer, uint64_t seed);

// "Paris is the capital of {France|Spain}." -> both readings, the normal one first. Throws FileError without {a|b}.
struct MinimalPair {
    std::string normal, anomalous;
};
MinimalPair minimal_pair(const std::string& line, const std::string& file);

// `count` plain texts of the corpus with the lengths given, over and over: the beginnings of as many documents of at
// least kPlainTokens, so that with one seed the shorter are beginnings of the longer. Those of experiments and those of
// a background never begin alike.
enum class PlainUse { experiment, background };
inline constexpr int64_t kPlainTokens = 56;
std::vector<std::vector<TokenId>> plain_texts(const Tokenizer& tokenizer, const std::vector<int64_t>& lengths,
                                              int64_t count, uint64_t seed, PlainUse use);

// The tokens after which a text with tokens injected at `injected_at` may end, ascending, `length` the last: where the
// texts of gibberish_N and repetition_N do.
std::vector<int64_t> injection_ends(int64_t injected_at, int64_t length);

std::vector<TokenId> greedy_answer(const Transformer& model, const Tokenizer& tokenizer,
                                   std::span<const TokenId> prompt, int64_t most);
// Whether one of the answers stands in the text as whole words, upper and lower case alike.
bool mentions_any(const std::string& text, const std::vector<std::string>& answers);

}  // namespace savepoint
