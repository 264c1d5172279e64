#pragma once

#include <string>
#include <vector>

#include "core/analysis/point_table.h"

namespace savepoint {

// A table of points from a file, by its ending:
//   .npy  NumPy's own format, version 1 to 3: two dimensions, float32 or float64, little-endian, C order
//   .csv  one point a line, numbers between commas, RFC 4180 quotes; the first line may name the columns
// Columns of a CSV that hold anything but numbers are labels, kept as text.
struct PointsFile {
    PointTable points;
    std::vector<std::string> columns;              // names of the columns of numbers, where the file has them
    std::vector<std::string> label_names;          // of the columns of text
    std::vector<std::vector<std::string>> labels;  // [rows][label columns]
};
// Safe against hostile input; throws FileError.
PointsFile read_points(const std::string& path);

void write_npy(const std::string& path, const PointTable& points);  // float32, atomically; throws FileError

}  // namespace savepoint
