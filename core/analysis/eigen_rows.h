#pragma once

#include <Eigen/Core>

#include "core/analysis/point_table.h"

namespace savepoint {

using RowMatrix = Eigen::Matrix<double, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

inline RowMatrix to_matrix(const PointTable& points) {
    return Eigen::Map<const Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>>(
               points.values.data(), points.rows, points.columns)
        .cast<double>();
}

}  // namespace savepoint
