#include "core/analysis/linear_probe.h"

#include <Eigen/Cholesky>
#include <Eigen/Eigenvalues>
#include <algorithm>
#include <cmath>

#include "core/analysis/eigen_rows.h"
#include "core/analysis/knn.h"
#include "core/model/error.h"

namespace savepoint {

namespace {

constexpr int kMostRounds = 100;
constexpr double kTolerance = 1e-9;

double objective(const Eigen::MatrixXd& x, const Eigen::VectorXd& y, const Eigen::VectorXd& w, double c) {
    const Eigen::ArrayXd margin = (y.array() * (x * w).array());
    // log(1 + exp(-m)) without overflow
    const Eigen::ArrayXd loss = (-margin).max(0) + (-margin.abs()).exp().log1p();
    return 0.5 * w.head(w.size() - 1).squaredNorm() + c * loss.sum();
}

// The last column of x is 1 and its weight is free of the penalty.
Eigen::VectorXd newton(const Eigen::MatrixXd& x, const Eigen::VectorXd& y, double c) {
    const Eigen::Index d = x.cols();
    Eigen::VectorXd w = Eigen::VectorXd::Zero(d);
    for (int round = 0; round < kMostRounds; ++round) {
        const Eigen::ArrayXd p = 1 / (1 + (y.array() * (x * w).array()).exp());  // of the wrong class
        Eigen::VectorXd gradient = -c * (x.transpose() * (y.array() * p).matrix());
        gradient.head(d - 1) += w.head(d - 1);
        Eigen::MatrixXd hessian = c * (x.transpose() * (p * (1 - p)).matrix().asDiagonal() * x);
        hessian.diagonal().head(d - 1).array() += 1;
        hessian(d - 1, d - 1) += 1e-12;
        const Eigen::VectorXd step = hessian.ldlt().solve(gradient);
        const double now = objective(x, y, w, c);
        double length = 1;
        while (length > 1e-6 && objective(x, y, w - length * step, c) > now) length /= 2;
        w -= length * step;
        if (step.norm() * length < kTolerance * (1 + w.norm())) break;
    }
    return w;
}

}  // namespace

std::vector<double> LinearProbe::decision(const PointTable& rows) const {
    check_points(rows, "linear probe");
    if (rows.columns != static_cast<int64_t>(weights.size()))
        throw InputError("linear probe: rows have another width than it was fitted on");
    const Eigen::VectorXd w = Eigen::Map<const Eigen::VectorXd>(weights.data(), rows.columns);
    const Eigen::VectorXd out = (to_matrix(rows) * w).array() + intercept;
    return {out.data(), out.data() + out.size()};
}

LinearProbe fit_linear_probe(const PointTable& rows, const std::vector<int>& label, double c) {
    check_points(rows, "linear probe");
    if (static_cast<int64_t>(label.size()) != rows.rows || !(c > 0))
        throw InputError("linear probe: one label a row, and a positive c, are needed");
    const RowMatrix x = to_matrix(rows);
    Eigen::VectorXd y(rows.rows);
    for (int64_t i = 0; i < rows.rows; ++i) y[i] = label[static_cast<size_t>(i)] == 1 ? 1 : -1;
    // The minimiser lies in the span of the rows: with fewer rows than columns, coordinates in it are enough.
    Eigen::MatrixXd basis;  // [d, r] orthonormal
    if (x.cols() > x.rows()) {
        const Eigen::SelfAdjointEigenSolver<Eigen::MatrixXd> solved(x * x.transpose());
        const Eigen::VectorXd& value = solved.eigenvalues();
        Eigen::Index first = 0;
        while (first + 1 < value.size() && value[first] <= 1e-10 * value[value.size() - 1]) ++first;
        const Eigen::Index rank = value.size() - first;
        basis = x.transpose() * solved.eigenvectors().rightCols(rank) *
                value.tail(rank).cwiseMax(1e-300).cwiseSqrt().cwiseInverse().asDiagonal();
    }
    const Eigen::MatrixXd inside = basis.size() ? Eigen::MatrixXd(x * basis) : Eigen::MatrixXd(x);
    Eigen::MatrixXd with_one(inside.rows(), inside.cols() + 1);
    with_one << inside, Eigen::VectorXd::Ones(inside.rows());
    const Eigen::VectorXd w = newton(with_one, y, c);
    const Eigen::VectorXd head = w.head(w.size() - 1);
    const Eigen::VectorXd full = basis.size() ? Eigen::VectorXd(basis * head) : head;
    return {{full.data(), full.data() + full.size()}, w[w.size() - 1]};
}

}  // namespace savepoint
