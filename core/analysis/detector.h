#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "core/analysis/detector_settings.h"
#include "core/analysis/point_table.h"

namespace savepoint {

// How far a row lies from a set of normal rows. fit() once, then score() any rows; calibrate() on normal rows that
// fit() did not see turns scores into p-values. All columns count as they are: scale them first where their units
// differ. Deterministic; a score depends on its own row alone. Throws InputError on tables of another width, too few
// rows, or values that are not finite, and when called out of order.
class Detector {
   public:
    virtual ~Detector() = default;

    // normal [n, d], n >= 2. other [m, d]: the background of relative, the known-bad of contrastive Mahalanobis, which
    // need one; the others take no notice of it.
    void fit(const PointTable& normal, const PointTable& other = {});
    std::vector<double> score(const PointTable& rows) const;  // one a row, larger is further from normal; finite

    void calibrate(const PointTable& normal);
    bool calibrated() const { return !reference_.empty(); }
    // The conformal p-value (1 + #{reference >= score}) / (n + 1): a new normal row gets p or less with probability at
    // most p. percentile = 100 (1 - p_value).
    double p_value(double score) const;
    double percentile(double score) const { return 100 * (1 - p_value(score)); }

   private:
    virtual bool needs_other() const { return false; }
    virtual void fit_rows(const PointTable& normal, const PointTable& other) = 0;
    virtual std::vector<double> score_rows(const PointTable& rows) const = 0;

    int64_t width_ = 0;              // 0: not fitted
    std::vector<double> reference_;  // scores of the calibration rows, ascending
};

std::unique_ptr<Detector> make_detector(const DetectorSettings& settings);

}  // namespace savepoint
