#pragma once

#include <memory>
#include <string>
#include <vector>

#include "core/sidecar/codec_evaluation.h"
#include "core/sidecar/codec_files.h"
#include "core/sidecar/rate_distortion_settings.h"

namespace savepoint {

// The comparison of codecs: fits all that need fitting on one stream of text, then runs each on the same held-out
// sequences. Cut into steps; what is judged so far can be read between two of them.
class RateDistortion {
   public:
    // With `saved`, nothing is fitted and that codec alone is judged.
    RateDistortion(const Transformer& model, const Tokenizer& tokenizer, RateDistortionSettings settings,
                   std::shared_ptr<const RunCodec> saved = nullptr);
    ~RateDistortion();

    void step();  // throws FileError, InputError: the text is missing or too short
    bool done() const;
    double progress() const;    // 0..1
    std::string stage() const;  // what the next step does

    struct Judged {
        std::shared_ptr<const RunCodec> codec;
        CodecFigures figures;
    };
    const std::vector<Judged>& judged() const;
    double replay_tokens_per_s() const;  // NaN before the exact runs
    CodecInfo info(const CodecFigures& figures) const;
    nlohmann::json described() const;  // as `savepoint evaluate --json` prints it

   private:
    struct Impl;
    std::unique_ptr<Impl> impl_;
};

}  // namespace savepoint
