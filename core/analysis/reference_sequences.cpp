#include "core/analysis/reference_sequences.h"

#include <algorithm>

#include "core/sidecar/reference_text.h"

namespace savepoint {

namespace {

// Beside the costs of what is done with the text: seconds on two processors.
constexpr double kReadingCost = 0.2, kSamplingCost = 0.1;

template <typename Number>
void read_setting(const nlohmann::json& settings, const char* name, Number& value) {
    if (settings.is_object() && settings.contains(name)) settings.at(name).get_to(value);
}

}  // namespace

std::vector<SequenceBatch> batches_of(const Sequences& sequences) {
    std::vector<SequenceBatch> batches;
    for (size_t i = 0; i < sequences.size(); ++i) {
        const size_t length = sequences[i].size();
        const bool joins = !batches.empty() && sequences[i - 1].size() == length &&
                           static_cast<int64_t>((batches.back().count + 1) * length) <= kBatchTokens;
        if (joins)
            ++batches.back().count;
        else
            batches.push_back({i, 1});
    }
    return batches;
}

Sequences sequences_of(const Sequences& all, const SequenceBatch& batch) {
    const auto first = all.begin() + static_cast<ptrdiff_t>(batch.first);
    return {first, first + static_cast<ptrdiff_t>(batch.count)};
}

int64_t tokens_in(const Sequences& sequences) {
    int64_t tokens = 0;
    for (const auto& sequence : sequences) tokens += static_cast<int64_t>(sequence.size());
    return tokens;
}

ReferenceSequences::ReferenceSequences(const Transformer& model, const Tokenizer& tokenizer, FitSettings settings)
    : model_(model), tokenizer_(tokenizer), settings_(std::move(settings)) {}

void ReferenceSequences::plan(StepQueue& queue, std::function<void()> next) {
    queue.plan("reading " + settings_.corpus, kReadingCost,
               [this, &queue, next = std::move(next)] { read(queue, next); });
}

void ReferenceSequences::read(StepQueue& queue, const std::function<void()>& next) {
    const Corpus corpus = corpus_named(settings_.corpus);
    TokenSplit split = split_corpus(corpus, tokenizer_, settings_.sequence_length, settings_.fit_tokens,
                                    settings_.calibration_tokens, settings_.seed);
    fit_ = std::move(split.fit);
    held_out_ = std::move(split.held_out);
    lay_out_as_reference_text(tokenizer_, fit_);
    lay_out_as_reference_text(tokenizer_, held_out_);
    settings_.fit_tokens = tokens_in(fit_);
    settings_.calibration_tokens = tokens_in(held_out_);
    if (settings_.own_samples > 0) plan_samples(queue, corpus);
    next();
}

void ReferenceSequences::plan_samples(StepQueue& queue, const Corpus& corpus) {
    const int64_t length = settings_.own_sample_length;
    auto starts = sample_starts(corpus, tokenizer_, settings_.own_samples, length, settings_.seed);
    settings_.own_samples = static_cast<int64_t>(starts.size());
    if (starts.empty()) return;
    // First, so that no quantile is taken from them: short samples would fill the tail of the early positions alone.
    fit_.insert(fit_.begin(), starts.size(), std::vector<TokenId>(static_cast<size_t>(length), 0));
    samples_.emplace(model_, std::move(starts), length, settings_.seed);
    for (size_t i = 1; i < static_cast<size_t>(length); ++i) {
        queue.plan(counted("sampling from the model, token", i, static_cast<size_t>(length)), kSamplingCost,
                   [this] { samples_->step(); });
    }
    queue.plan("sampling from the model", 0, [this] {
        std::copy(samples_->sequences().begin(), samples_->sequences().end(), fit_.begin());
        samples_.reset();
    });
}

size_t ReferenceSequences::moment_batches(size_t batches) {
    return std::min(batches, std::max<size_t>(4, batches * 2 / 5));
}

FitSettings reference_text_settings(const SidecarInfo& info) {
    FitSettings settings;
    read_setting(info.settings, "corpus", settings.corpus);
    read_setting(info.settings, "sequence_length", settings.sequence_length);
    read_setting(info.settings, "fit_tokens", settings.fit_tokens);
    read_setting(info.settings, "calibration_tokens", settings.calibration_tokens);
    read_setting(info.settings, "own_samples", settings.own_samples);
    read_setting(info.settings, "own_sample_length", settings.own_sample_length);
    read_setting(info.settings, "seed", settings.seed);
    return settings;
}

}  // namespace savepoint
