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
// "fortunes", "dict-gcide" (the articles of Debian's package of that name), "code" (Python's own library), or a path
// for read_corpus. Throws FileError with the way out.
Corpus corpus_named(const std::string& name);

// Token sequences of exactly `length` tokens, each with Tokenizer::start() before it, split by document with a seeded
// shuffle into a fitting and a held-out part. `seed` also draws which documents are used. Documents are joined by a
// blank line until a sequence is full. The held-out documents are drawn first, so that a larger fit leaves them as they
// are. sha256: of all ids, fit then held_out. Throws InputError when the corpus does not fill one sequence of each
// part; a corpus that is too small gives fewer sequences than asked.
struct TokenSplit {
    std::vector<std::vector<TokenId>> fit, held_out;
    std::string sha256;
};
TokenSplit split_corpus(const Corpus& corpus, const Tokenizer& tokenizer, int64_t length, int64_t fit_tokens,
                        int64_t held_out_tokens, uint64_t seed);

// Starts for own samples: the first words of documents, and as many first user turns (a document's first words
// through the chat template) when the model has one, for that is what it will mostly be given.
std::vector<std::vector<TokenId>> sample_starts(const Corpus& corpus, const Tokenizer& tokenizer, int64_t count,
                                                int64_t length, uint64_t seed);

// The model's own samples at temperature 1, one sequence from each start, generated as one batch, a token a step.
class OwnSamples {
   public:
    // The first tokens of each sequence are its start; throws InputError for an empty start or one beyond `length`.
    OwnSamples(const Transformer& model, std::vector<std::vector<TokenId>> starts, int64_t length, uint64_t seed);
    ~OwnSamples();
    void step();
    bool done() const;
    const std::vector<std::vector<TokenId>>& sequences() const;  // of `length` tokens each, when done

   private:
    struct Impl;
    std::unique_ptr<Impl> impl_;
};

// All of that at once: `count` sequences of `length` tokens from starts in fortunes_corpus(). keep_going is asked
// between steps; false throws Cancelled.
std::vector<std::vector<TokenId>> own_samples(const Transformer& model, const Tokenizer& tokenizer, int64_t count,
                                              int64_t length, uint64_t seed,
                                              const std::function<bool(double)>& keep_going = {});

}  // namespace savepoint
