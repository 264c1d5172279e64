#pragma once

#include <Eigen/Core>

#include "core/analysis/eigen_rows.h"

namespace savepoint {

// Principal axes of rows [n, d] about their mean, by the smaller of the two Gram matrices: O(n d min(n, d)). Variances
// are divided by n, descending; axes of no variance are left out.
struct PrincipalAxes {
    Eigen::RowVectorXd mean;   // [d]
    Eigen::VectorXd variance;  // [rank]
    RowMatrix axes;            // [rank, d] orthonormal
};
PrincipalAxes principal_axes(const RowMatrix& rows);

// A Gaussian with the covariance that Ledoit and Wolf shrink toward mu * I, never formed: with fewer rows than columns
// the directions that the rows do not span have the variance shrinkage * mu. Where there was nothing to shrink (equal
// rows), those directions count as the pseudo-inverse says: not at all.
class ShrunkGaussian {
   public:
    ShrunkGaussian() = default;
    explicit ShrunkGaussian(const RowMatrix& rows);
    Eigen::VectorXd squared_distances(const RowMatrix& rows) const;  // Mahalanobis
    double shrinkage() const { return shrinkage_; }

   private:
    PrincipalAxes principal_;
    double shrinkage_ = 0;
    double rest_ = 0;  // the variance of all directions but the axes
};

}  // namespace savepoint
