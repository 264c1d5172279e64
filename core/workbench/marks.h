#pragma once

// Plain types only: views include this file.

namespace savepoint {

// A token is marked when its anomaly percentile (AnomalyScores::token_percentile) reaches the threshold. 99.9: one in a
// thousand tokens of ordinary text, where the reference holds that many at its positions; 100: only what scores above
// all that calibration saw.
inline constexpr double kMarkThreshold = 99.9;
inline bool is_marked(float percentile, double threshold) { return percentile >= threshold; }  // NaN never is

}  // namespace savepoint
