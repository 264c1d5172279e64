#include "core/analysis/shrunk_gaussian.h"

#include <Eigen/Eigenvalues>
#include <algorithm>
#include <cmath>

namespace savepoint {

namespace {

constexpr double kRankTolerance = 1e-12;  // of the largest variance; below it is rounding of the Gram matrix

// Ledoit & Wolf 2004, lemmas 3.2 to 3.4, with sum of C^2 from the variances and |x|^4 from the rows themselves.
double shrinkage_of(const RowMatrix& centred, const Eigen::VectorXd& variance) {
    const auto n = static_cast<double>(centred.rows()), d = static_cast<double>(centred.cols());
    const double mu = variance.sum() / d, squared = variance.squaredNorm();
    const double dispersion = squared - d * mu * mu;
    const double fourth = centred.rowwise().squaredNorm().array().square().sum();
    const double noise = std::min((fourth / n - squared) / n, dispersion);
    return dispersion > 0 && noise > 0 ? noise / dispersion : 0;
}

PrincipalAxes decompose(const RowMatrix& centred) {
    const auto n = static_cast<double>(centred.rows());
    const bool wide = centred.cols() > centred.rows();
    const Eigen::MatrixXd gram =
        wide ? Eigen::MatrixXd(centred * centred.transpose() / n) : Eigen::MatrixXd(centred.transpose() * centred / n);
    const Eigen::SelfAdjointEigenSolver<Eigen::MatrixXd> solved(gram);  // ascending
    const Eigen::VectorXd variance = solved.eigenvalues().reverse();
    Eigen::Index rank = 0;
    while (rank < variance.size() && variance[rank] > kRankTolerance * variance[0]) ++rank;
    PrincipalAxes out;
    out.variance = variance.head(rank);
    const Eigen::MatrixXd vectors = solved.eigenvectors().rightCols(rank).rowwise().reverse();
    if (!wide) {
        out.axes = vectors.transpose();
    } else {
        const Eigen::VectorXd length = (out.variance * n).cwiseSqrt().cwiseInverse();
        out.axes = length.asDiagonal() * (vectors.transpose() * centred);
    }
    return out;
}

}  // namespace

PrincipalAxes principal_axes(const RowMatrix& rows) {
    const Eigen::RowVectorXd mean = rows.colwise().mean();
    PrincipalAxes axes = decompose(rows.rowwise() - mean);
    axes.mean = mean;
    return axes;
}

ShrunkGaussian::ShrunkGaussian(const RowMatrix& rows) {
    const Eigen::RowVectorXd mean = rows.colwise().mean();
    const RowMatrix centred = rows.rowwise() - mean;
    principal_ = decompose(centred);
    principal_.mean = mean;
    shrinkage_ = shrinkage_of(centred, principal_.variance);
    rest_ = shrinkage_ * principal_.variance.sum() / static_cast<double>(rows.cols());
    principal_.variance = ((1 - shrinkage_) * principal_.variance.array() + rest_).matrix();
}

Eigen::VectorXd ShrunkGaussian::squared_distances(const RowMatrix& rows) const {
    const RowMatrix centred = rows.rowwise() - principal_.mean;
    const RowMatrix along = centred * principal_.axes.transpose();
    Eigen::VectorXd squared = along.array().square().matrix() * principal_.variance.cwiseInverse();
    if (rest_ > 0 && principal_.axes.rows() < principal_.axes.cols()) {
        const Eigen::VectorXd outside = centred.rowwise().squaredNorm() - along.rowwise().squaredNorm();
        squared += outside.cwiseMax(0) / rest_;
    }
    return squared;
}

}  // namespace savepoint
