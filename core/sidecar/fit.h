#pragma once

#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "core/model/transformer.h"
#include "core/sidecar/pca_codec.h"
#include "core/sidecar/sidecar.h"

namespace savepoint {

struct Corpus {
    std::string name;
    std::vector<std::string> documents;
};
// Debian's `fortunes` (/usr/share/games/fortunes), one document an entry; throws FileError with the way out.
Corpus fortunes_corpus();
// Plain text (documents separated by blank lines), JSONL with "text", or a folder of such files.
Corpus read_corpus(const std::string& path);

// Token sequences of exactly `length` tokens, split by document with a seeded shuffle into a fitting and a
// held-out part. `seed` also draws which documents are used.
struct TokenSplit { std::vector<std::vector<TokenId>> fit, held_out; std::string sha256; };
TokenSplit split_corpus(const Corpus& corpus, const Tokenizer& tokenizer, int64_t length, int64_t fit_tokens,
                        int64_t held_out_tokens, uint64_t seed);

// The model's own samples, `count` sequences of `length` tokens at temperature 1, from short seeded starts
// (first words of documents), generated as one batch. keep_going is asked between steps.
std::vector<std::vector<TokenId>> own_samples(const Transformer& model, const Tokenizer& tokenizer, int64_t count,
                                              int64_t length, uint64_t seed, const std::function<bool(double)>& keep_going = {});

}  // namespace savepoint
