#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "core/analysis/fit_settings.h"
#include "core/model/tokenizer.h"
#include "core/model/transformer.h"
#include "core/sidecar/fit.h"
#include "core/sidecar/sidecar.h"
#include "core/sidecar/step_queue.h"

namespace savepoint {

using Sequences = std::vector<std::vector<TokenId>>;

// Consecutive sequences of equal length that go through the model together.
struct SequenceBatch {
    size_t first = 0, count = 0;
};
inline constexpr int64_t kBatchTokens = 256;  // of one forward pass: about a third of a second on two processors
std::vector<SequenceBatch> batches_of(const Sequences& sequences);
Sequences sequences_of(const Sequences& all, const SequenceBatch& batch);
int64_t tokens_in(const Sequences& sequences);

// The text that sidecar and anomaly references are fitted on: a corpus laid out as reference text (reference_text.h),
// split, with the model's own samples in front. From the same settings always the same.
class ReferenceSequences {
   public:
    ReferenceSequences(const Transformer& model, const Tokenizer& tokenizer, FitSettings settings);
    // Plans the reading on `queue`, then `next` at once, which plans what is done with the text: the places of own
    // samples are kept by then, and filled before any step that is planned there.
    void plan(StepQueue& queue, std::function<void()> next);

    const FitSettings& settings() const { return settings_; }  // with the counts as they were met
    const Sequences& fit() const { return fit_; }
    const Sequences& held_out() const { return held_out_; }  // of no part of the codecs
    // Of batches_of(fit()), so many give moments, the others quantiles, which need many texts: the tokens of one text
    // rise and fall together.
    static size_t moment_batches(size_t batches);

   private:
    void read(StepQueue& queue, const std::function<void()>& next);
    void plan_samples(StepQueue& queue, const Corpus& corpus);

    const Transformer& model_;
    const Tokenizer& tokenizer_;
    FitSettings settings_;
    Sequences fit_, held_out_;
    std::optional<OwnSamples> samples_;
};

// The settings of the text that a sidecar was fitted on (SidecarInfo::settings); defaults for what it does not say.
FitSettings reference_text_settings(const SidecarInfo& info);

}  // namespace savepoint
