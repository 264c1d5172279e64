#pragma once

// Plain structs only: views include this file.

#include <cstdint>
#include <vector>

namespace savepoint {

// A table of points, one a row: [rows, columns], row by row.
struct PointTable {
    int64_t rows = 0, columns = 0;
    std::vector<float> values;

    const float* row(int64_t i) const { return values.data() + i * columns; }
    float* row(int64_t i) { return values.data() + i * columns; }
    bool operator==(const PointTable&) const = default;
};

}  // namespace savepoint
