#include "core/sidecar/fit.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <numeric>
#include <sstream>

#include "core/model/error.h"
#include "core/model/sampler.h"
#include "core/sidecar/noise.h"
#include "core/state/safetensors.h"

namespace savepoint {

namespace {

constexpr size_t kLongestDocument = 1 << 16;  // bytes that are tokenised of one document

// Fisher-Yates on our own numbers: std::shuffle differs between standard libraries.
std::vector<size_t> shuffled(size_t count, uint64_t seed) {
    std::vector<size_t> order(count);
    std::iota(order.begin(), order.end(), size_t{0});
    for (size_t i = count; i > 1; --i) std::swap(order[i - 1], order[mixed({seed, i}) % i]);
    return order;
}

// Cut at a character: a continuation byte never begins one.
std::string_view shortened(const std::string& text) {
    if (text.size() <= kLongestDocument) return text;
    size_t end = kLongestDocument;
    while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xC0) == 0x80) --end;
    return std::string_view(text).substr(0, end);
}

// Text of a corpus is data: what reads like a special token in it is not one.
std::vector<TokenId> encoded(const Tokenizer& tokenizer, const std::string& document) {
    try {
        return tokenizer.encode(shortened(document), /*parse_special=*/false);
    } catch (const InputError&) {
        return {};  // not UTF-8: an old file in a corpus of many is passed over
    }
}

// Takes whole documents in order until `tokens` are cut into sequences; the rest of the last one is dropped. Each
// begins as the model's sequences do.
class SequenceCutter {
   public:
    SequenceCutter(const Corpus& corpus, const Tokenizer& tokenizer, std::vector<size_t> order)
        : corpus_(corpus), tokenizer_(tokenizer), order_(std::move(order)), blank_(encoded(tokenizer, "\n\n")) {}

    std::vector<std::vector<TokenId>> take(int64_t length, int64_t tokens) {
        std::vector<std::vector<TokenId>> sequences;
        std::vector<TokenId> held;
        const std::vector<TokenId>& start = tokenizer_.start();
        const auto wanted = static_cast<size_t>(tokens / length), whole = static_cast<size_t>(length);
        const size_t each = whole > start.size() ? whole - start.size() : whole;
        while (sequences.size() < wanted && next_ < order_.size()) {
            const std::vector<TokenId> ids = encoded(tokenizer_, corpus_.documents[order_[next_++]]);
            if (!held.empty()) held.insert(held.end(), blank_.begin(), blank_.end());
            held.insert(held.end(), ids.begin(), ids.end());
            size_t from = 0;
            for (; held.size() - from >= each && sequences.size() < wanted; from += each) {
                std::vector<TokenId>& sequence = sequences.emplace_back(start);
                sequence.insert(sequence.end(), held.begin() + static_cast<ptrdiff_t>(from),
                                held.begin() + static_cast<ptrdiff_t>(from + each));
                sequence.resize(whole);
            }
            held.erase(held.begin(), held.begin() + static_cast<ptrdiff_t>(from));
        }
        return sequences;
    }

   private:
    const Corpus& corpus_;
    const Tokenizer& tokenizer_;
    std::vector<size_t> order_;
    std::vector<TokenId> blank_;
    size_t next_ = 0;
};

std::string ids_sha256(const std::vector<std::vector<TokenId>>& a, const std::vector<std::vector<TokenId>>& b) {
    std::string bytes;
    for (const auto* part : {&a, &b}) {
        for (const auto& ids : *part)
            bytes.append(reinterpret_cast<const char*>(ids.data()), ids.size() * sizeof(TokenId));
    }
    return sha256_hex(bytes);
}

// The first words of its first line: short enough that the turn leaves room for an answer.
std::string as_question(const std::string& document) {
    std::istringstream words(document.substr(0, document.find('\n')));
    std::string word, question;
    for (int i = 0; i < 10 && words >> word; ++i) question += (i > 0 ? " " : "") + word;
    return question;
}

std::vector<TokenId> chat_start(const Tokenizer& tokenizer, const std::string& document) {
    const ChatMessage turn{"user", as_question(document)};
    try {
        return tokenizer.encode_start(tokenizer.apply_chat_template(std::span(&turn, 1)));
    } catch (const InputError&) {
        return {};
    }
}

std::vector<TokenId> first_words(const Tokenizer& tokenizer, const std::string& document) {
    std::vector<TokenId> words = encoded(tokenizer, document), start = tokenizer.start();
    words.resize(std::min<size_t>(words.size(), 4));
    if (words.empty()) return {};
    start.insert(start.end(), words.begin(), words.end());
    return start;
}

}  // namespace

TokenSplit split_corpus(const Corpus& corpus, const Tokenizer& tokenizer, int64_t length, int64_t fit_tokens,
                        int64_t held_out_tokens, uint64_t seed) {
    if (length < 1) throw InputError("sequence_length: " + std::to_string(length) + "; at least 1 token");
    SequenceCutter cutter(corpus, tokenizer, shuffled(corpus.documents.size(), seed));
    TokenSplit split;
    split.held_out = cutter.take(length, held_out_tokens);
    split.fit = cutter.take(length, fit_tokens);
    const bool short_of = (split.held_out.empty() && held_out_tokens > 0) || (split.fit.empty() && fit_tokens > 0);
    if (short_of) {
        throw InputError("corpus " + corpus.name + ": does not fill one sequence of " + std::to_string(length) +
                         " tokens for fitting and one for calibration; give more text or a smaller sequence_length");
    }
    split.sha256 = ids_sha256(split.fit, split.held_out);
    return split;
}

std::vector<std::vector<TokenId>> sample_starts(const Corpus& corpus, const Tokenizer& tokenizer, int64_t count,
                                                int64_t length, uint64_t seed) {
    const auto room = static_cast<size_t>(length * 3 / 4);
    std::vector<std::vector<TokenId>> starts;
    for (const size_t index : shuffled(corpus.documents.size(), mixed({seed, 0x57A7}))) {
        if (static_cast<int64_t>(starts.size()) == count) break;
        const std::string& document = corpus.documents[index];
        std::vector<TokenId> start;
        if (tokenizer.has_chat_template() && starts.size() % 2 == 1) start = chat_start(tokenizer, document);
        if (start.empty() || start.size() > room) start = first_words(tokenizer, document);
        if (!start.empty() && start.size() <= static_cast<size_t>(length)) starts.push_back(std::move(start));
    }
    return starts;
}

struct OwnSamples::Impl {
    Impl(const Transformer& model, std::vector<std::vector<TokenId>> starts, int64_t length, uint64_t seed)
        : model(model),
          sequences(std::move(starts)),
          length(static_cast<size_t>(length)),
          seed(seed),
          cache(model.config(), length, model.device(), static_cast<int64_t>(sequences.size())) {
        for (const auto& start : sequences) given.push_back(start.size());
    }

    TokenId drawn(const at::Tensor& logits, size_t row) const {
        SamplerSettings settings;
        settings.temperature = 1;
        settings.top_p = 1;
        settings.seed = mixed({seed, row});
        return sample(logits[static_cast<int64_t>(row)], settings, static_cast<int64_t>(at + 1));
    }

    const Transformer& model;
    std::vector<std::vector<TokenId>> sequences;
    std::vector<size_t> given;  // tokens of each start
    size_t length, at = 0;
    uint64_t seed;
    KvCache cache;
};

OwnSamples::OwnSamples(const Transformer& model, std::vector<std::vector<TokenId>> starts, int64_t length,
                       uint64_t seed) {
    if (starts.empty()) throw InputError("own_samples: no starts were given");
    for (const auto& start : starts) {
        if (start.empty() || static_cast<int64_t>(start.size()) > length) {
            throw InputError("own_samples: a start of " + std::to_string(start.size()) + " tokens; from 1 to " +
                             std::to_string(length));
        }
    }
    impl_ = std::make_unique<Impl>(model, std::move(starts), length, seed);
}

OwnSamples::~OwnSamples() = default;

bool OwnSamples::done() const { return impl_->at + 1 >= impl_->length; }

const std::vector<std::vector<TokenId>>& OwnSamples::sequences() const { return impl_->sequences; }

void OwnSamples::step() {
    if (done()) return;
    Impl& run = *impl_;
    std::vector<TokenId> tokens;
    for (const auto& sequence : run.sequences) tokens.push_back(sequence[run.at]);
    ForwardOptions options;
    options.capture = false;
    const at::Tensor logits = run.model.decode_batch(run.cache, tokens, options).logits;
    for (size_t row = 0; row < run.sequences.size(); ++row) {
        if (run.at + 1 >= run.given[row]) run.sequences[row].push_back(run.drawn(logits, row));
    }
    ++run.at;
}

std::vector<std::vector<TokenId>> own_samples(const Transformer& model, const Tokenizer& tokenizer, int64_t count,
                                              int64_t length, uint64_t seed,
                                              const std::function<bool(double)>& keep_going) {
    if (count < 1) return {};
    OwnSamples samples(model, sample_starts(fortunes_corpus(), tokenizer, count, length, seed), length, seed);
    for (int64_t done = 1; !samples.done(); ++done) {
        samples.step();
        if (keep_going && !keep_going(static_cast<double>(done) / static_cast<double>(length))) throw Cancelled();
    }
    return samples.sequences();
}

}  // namespace savepoint
