#pragma once

#include <cstdint>
#include <vector>

#include "core/analysis/labelled_text.h"

namespace savepoint {

// Where each text of an experiment goes.
enum class Part { left_out, fit, calibration, test };

// Leaves as many normal as anomalous texts, each anomalous one with a normal one of the same length (within `tolerance`
// of it, and never more than one token where that is less), of its own group where there is one: true for those kept.
// A detector that learns length then gains nothing by it.
std::vector<bool> length_matched(const std::vector<LabelledText>& texts, const std::vector<int64_t>& length,
                                 double tolerance = 0.05);

// Groups are dealt out whole, those with normal texts alone, with anomalous ones alone and with both each by
// themselves, so that both parts have as much of each. A fifth of the training groups is for calibration.
std::vector<Part> split(const std::vector<LabelledText>& texts, const std::vector<bool>& kept, double train_fraction,
                        uint64_t seed);

// At most `most` texts in whole groups, a seeded choice; in the order they were given.
std::vector<LabelledText> chosen_groups(std::vector<LabelledText> texts, int64_t most, uint64_t seed);

}  // namespace savepoint
