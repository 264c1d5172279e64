#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "core/sidecar/codec_evaluation.h"
#include "core/sidecar/codec_files.h"
#include "core/sidecar/codec_learned.h"

namespace savepoint {

// Trains a learned codec from nothing: reads text, fits the transform that it starts from, trains the networks on
// states streamed from the model (a round's states are held, no more), and judges the result beside the transform at
// neighbouring rates, on the same held-out text. Cut into steps of about a second. Same settings, same threads: same
// codec, also across a checkpoint.
class CodecTraining {
   public:
    // Throws InputError for settings that do not fit together.
    CodecTraining(const Transformer& model, const Tokenizer& tokenizer, TrainingSettings settings);
    ~CodecTraining();

    void step();  // throws FileError, InputError: the text is missing or too short
    bool done() const;
    double progress() const;    // 0..1
    std::string stage() const;  // what the next step does
    void finish_early();        // go on with what is trained, as early stopping does

    const std::vector<TrainingPoint>& curve() const;
    // Judged so far: transforms of the bracket, then the learned codec.
    struct Judged {
        std::shared_ptr<const RunCodec> codec;
        CodecFigures figures;
    };
    const std::vector<Judged>& judged() const;
    // The learned codec's KL over that of the transform at the same bytes (log-log interpolation over the bracket);
    // NaN before it is known, and for codecs of hidden states, where it is the ratio of the variance unexplained.
    double against_transform() const;
    std::shared_ptr<const LearnedCodec> codec() const;  // null before the end
    CodecInfo info(const CodecFigures& figures) const;
    nlohmann::json described() const;

    // Between two rounds: all that is needed to go on as if nothing had happened. load throws FileError when the file
    // is damaged or of other settings.
    void save_checkpoint(const std::string& path) const;
    void load_checkpoint(const std::string& path);
    bool between_rounds() const;

   private:
    struct Impl;
    std::unique_ptr<Impl> impl_;
};

}  // namespace savepoint
