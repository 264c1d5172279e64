#pragma once

#include <vector>

#include "core/analysis/point_table.h"

namespace savepoint {

// Logistic regression with an L2 penalty, the intercept free: minimises |w|^2 / 2 + c sum log(1 + exp(-y (x w + b))),
// as scikit-learn's LogisticRegression(C=c). Supervised: the ceiling that detectors without labels are judged against.
struct LinearProbe {
    std::vector<double> weights;
    double intercept = 0;
    std::vector<double> decision(const PointTable& rows) const;  // x w + b, one a row
};
// Newton's method in the span of the rows: O(min(n, d)^3) a round. Throws InputError on tables that disagree.
LinearProbe fit_linear_probe(const PointTable& rows, const std::vector<int>& label, double c);

}  // namespace savepoint
