#include "core/analysis/hedgehog_training.h"

#include <ATen/ATen.h>

namespace savepoint {

namespace {

PhiSettings hedgehog_settings(bool rotary) {
    PhiSettings settings;
    settings.kind = PhiKind::hedgehog;
    settings.rotary = rotary;
    return settings;
}

}  // namespace

HedgehogTraining::HedgehogTraining(const Transformer& model, bool rotary, int64_t texts)
    : texts_(texts), fit_(model.config(), hedgehog_settings(rotary)) {
    capture_.emplace(model, rotary);
}

void HedgehogTraining::plan(StepQueue& queue, const std::vector<std::vector<TokenId>>& sequences, double cost) {
    const auto texts = static_cast<size_t>(texts_);
    for (size_t i = 0; i < texts; ++i)
        queue.plan(counted("learning phi, text", i, texts), cost,
                   [this, i, &sequences] { learn(sequences[i % sequences.size()]); });
    queue.plan("learning phi", 0, [this] {
        learned_ = std::make_shared<const Phi>(fit_.finish());
        capture_.reset();
    });
}

void HedgehogTraining::learn(const std::vector<TokenId>& sequence) {
    ForwardOptions options;
    options.logits = Logits::none;
    options.capture = false;
    fit_.step(capture_->run({sequence}, options).front());
}

}  // namespace savepoint
