#pragma once

#include <cstdint>
#include <vector>

namespace savepoint {

// How well scores tell anomalous rows (label 1) from normal ones (0); ties count half in the AUROC, and share a
// threshold elsewhere, as in scikit-learn. All throw InputError on unequal lengths, on a single class, and on scores
// that are not finite.
struct RocPoint {
    double false_rate, true_rate;  // of rows at or above a threshold
};
std::vector<RocPoint> roc_curve(const std::vector<double>& score, const std::vector<int>& label);
double auroc(const std::vector<double>& score, const std::vector<int>& label);
double average_precision(const std::vector<double>& score, const std::vector<int>& label);  // AUPRC
// The false positive rate of the highest threshold that catches at least this fraction of the anomalous.
double false_rate_at(double true_rate, const std::vector<double>& score, const std::vector<int>& label);

// Percentile bootstrap over rows, normal and anomalous drawn each by themselves.
struct Interval {
    double low, high;
};
Interval auroc_interval(const std::vector<double>& score, const std::vector<int>& label, int draws, uint64_t seed,
                        double coverage = 0.95);

}  // namespace savepoint
