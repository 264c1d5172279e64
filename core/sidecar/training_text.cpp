#include "core/sidecar/training_text.h"

#include <algorithm>
#include <utility>

#include "core/model/error.h"
#include "core/model/sha256.h"
#include "core/sidecar/codec_transform.h"
#include "core/sidecar/fit.h"
#include "core/sidecar/noise.h"

namespace savepoint {

namespace {

constexpr int64_t kLookSequences = 4;
constexpr size_t kSampledFrom = 40;  // sequences, of which the transform's samples are not trained on

}  // namespace

bool TrainingText::in_sample(size_t i) const {
    return TransformFit::samples(static_cast<int64_t>(i)) && i < kSampledFrom;
}

std::vector<TokenId> TrainingText::run(size_t i) const {
    return {fit[i].begin(), in_sample(i) ? fit[i].begin() + prefix : fit[i].end()};
}

const std::vector<TokenId>& TrainingText::sequence(int64_t index) const {
    std::vector<size_t> order;
    for (size_t i = 0; i < fit.size(); ++i)
        if (!in_sample(i)) order.push_back(i);
    const auto count = static_cast<int64_t>(order.size());
    const int64_t turn = index / count;
    for (size_t i = order.size(); i > 1; --i)
        std::swap(order[i - 1], order[mixed({seed, static_cast<uint64_t>(turn), i}) % i]);
    return fit[order[static_cast<size_t>(index % count)]];
}

TrainingText training_text(const TrainingSettings& settings, const Tokenizer& tokenizer) {
    const int64_t length = settings.prefix + settings.followers;
    TokenSplit split = split_corpus(corpus_named(settings.corpus), tokenizer, length, settings.fit_tokens,
                                    settings.held_out_tokens + kLookSequences * length, settings.seed);
    TrainingText text{std::move(split.fit), {}, std::move(split.held_out), {}, settings.prefix, settings.seed};
    auto& held_out = text.held_out;
    if (held_out.size() < 2) throw InputError("training: the text is too short to hold some of it out; give more");
    // Those of the figures are drawn first.
    const auto looks = std::min<size_t>(kLookSequences, held_out.size() / 2);
    text.looks.assign(held_out.end() - static_cast<ptrdiff_t>(looks), held_out.end());
    held_out.resize(held_out.size() - looks);
    std::string bytes;
    for (const auto& ids : text.fit)
        bytes.append(reinterpret_cast<const char*>(ids.data()), ids.size() * sizeof(TokenId));
    text.sha256 = sha256_hex(bytes);
    return text;
}

}  // namespace savepoint
