#pragma once

#include <vector>

#include "core/model/tokenizer.h"

namespace savepoint {

// Normal text is plain text and chat. Every third sequence is laid out as a conversation in the model's chat
// template (its opening as the user's message, the rest as the answer), cut to the length it had. Models without
// a template keep plain text. Fitting, calibration and evaluation all pass their sequences through here, so that
// a percentile is one among text of the same mixture.
void lay_out_as_reference_text(const Tokenizer& tokenizer, std::vector<std::vector<TokenId>>& sequences);
// The same of every n-th sequence.
void lay_out_as_chat(const Tokenizer& tokenizer, std::vector<std::vector<TokenId>>& sequences, size_t every = 1);

}  // namespace savepoint
