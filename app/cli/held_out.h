#pragma once

#include <string>
#include <vector>

#include "app/cli/commands.h"

namespace savepoint::cli {

// The fit whose sidecar is in `file`, or the stored one where none is named. Throws FileError for another model's.
ReferenceFit::Result asked_fit(const Common& common, const OpenModel& model, const std::string& file);

// At most `tokens` tokens in sequences of `length` that neither the fit nor the calibration of its references saw: of
// `fortunes` the same seeded split, further on; of another corpus its documents.
std::vector<std::vector<TokenId>> unseen_text(const OpenModel& model, const SidecarInfo& fit, const std::string& corpus,
                                              int64_t tokens, int64_t length);

}  // namespace savepoint::cli
