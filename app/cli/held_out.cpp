#include "app/cli/held_out.h"

#include <algorithm>

#include "core/model/error.h"
#include "core/sidecar/fit.h"
#include "core/sidecar/reference_text.h"

namespace savepoint::cli {

ReferenceFit::Result asked_fit(const Common& common, const OpenModel& model, const std::string& file) {
    if (file.empty()) return stored_fit(common, model.weights);
    ReferenceFit::Result fit;
    fit.sidecar = Sidecar::load(file, model.weights);
    if (fit.sidecar->info().model_sha256 != model.weights->sha256())
        throw FileError(file, "was fitted on another model than " + common.model);
    return fit;
}

std::vector<std::vector<TokenId>> unseen_text(const OpenModel& model, const SidecarInfo& fit, const std::string& corpus,
                                              int64_t tokens, int64_t length) {
    if (corpus != "fortunes")
        return split_corpus(corpus_named(corpus), model.tokenizer, length, 0, tokens, fit.seed).held_out;
    const auto fitted = fit.settings.value("fit_tokens", int64_t{0}),
               calibrated = fit.settings.value("calibration_tokens", int64_t{0});
    TokenSplit split =
        split_corpus(fortunes_corpus(), model.tokenizer, length, fitted + tokens + 4 * length, calibrated, fit.seed);
    // Sequences of another length than the fit's end at other documents: four more are left out to be safe.
    const auto seen = std::min<size_t>(split.fit.size(), (fitted + length - 1) / length + 4);
    std::vector<std::vector<TokenId>> unseen(split.fit.begin() + static_cast<std::ptrdiff_t>(seen), split.fit.end());
    lay_out_as_reference_text(model.tokenizer, unseen);
    return unseen;
}

}  // namespace savepoint::cli
