#include "core/analysis/points_file.h"

#include <charconv>
#include <cmath>
#include <cstring>
#include <optional>
#include <string_view>

#include "core/analysis/csv_lines.h"
#include "core/model/error.h"
#include "core/state/safetensors.h"

namespace savepoint {

namespace {

bool ends_with(const std::string& path, const std::string& ending) {
    return path.size() >= ending.size() && path.compare(path.size() - ending.size(), ending.size(), ending) == 0;
}

// -- NPY --------------------------------------------------------------------------------------------------------

constexpr size_t kMagicBytes = 8;  // "\x93NUMPY", major, minor

struct NpyHeader {
    std::string text;  // a Python dictionary: {'descr': '<f4', 'fortran_order': False, 'shape': (10, 3), }
    size_t data = 0;   // where the values begin
};

NpyHeader npy_header(const std::string& path, const std::string& bytes) {
    if (bytes.size() < kMagicBytes + 4 || bytes.compare(0, 6, "\x93NUMPY") != 0)
        throw FileError(path, "is no NPY file; save it with numpy.save");
    const bool wide = bytes[6] > 1;  // versions 2 and 3 have four bytes of length
    size_t length = 0;
    for (size_t i = 0; i < (wide ? 4u : 2u); ++i)
        length |= static_cast<size_t>(static_cast<unsigned char>(bytes[kMagicBytes + i])) << (8 * i);
    const size_t begin = kMagicBytes + (wide ? 4 : 2);
    if (length > bytes.size() - begin) throw FileError(path, "its header is cut off");
    return {bytes.substr(begin, length), begin + length};
}

std::string_view value_of(const std::string& path, const std::string& header, const std::string& key) {
    const size_t at = header.find("'" + key + "':");
    if (at == std::string::npos) throw FileError(path, "its header has no " + key);
    std::string_view value = std::string_view(header).substr(at + key.size() + 3);
    value.remove_prefix(std::min(value.find_first_not_of(' '), value.size()));
    return value;
}

int64_t next_extent(const std::string& path, std::string_view& shape) {
    int64_t extent = 0;
    const auto [end, problem] = std::from_chars(shape.data(), shape.data() + shape.size(), extent);
    if (problem != std::errc() || extent < 0)
        throw FileError(path, "must have two dimensions; use reshape(len(x), -1)");
    shape.remove_prefix(static_cast<size_t>(end - shape.data()));
    while (!shape.empty() && (shape.front() == ',' || shape.front() == ' ')) shape.remove_prefix(1);
    return extent;
}

PointTable npy_shape(const std::string& path, const std::string& header) {
    std::string_view shape = value_of(path, header, "shape");
    if (shape.empty() || shape.front() != '(') throw FileError(path, "its header has no shape");
    shape.remove_prefix(1);
    PointTable table;
    table.rows = next_extent(path, shape);
    table.columns = next_extent(path, shape);
    if (shape.empty() || shape.front() != ')')
        throw FileError(path, "must have two dimensions; use reshape(len(x), -1)");
    return table;
}

template <typename T>
void copy_values(const char* from, size_t count, std::vector<float>& to) {
    to.resize(count);
    for (size_t i = 0; i < count; ++i) {
        T value;
        std::memcpy(&value, from + i * sizeof(T), sizeof(T));
        to[i] = static_cast<float>(value);
    }
}

PointTable read_npy(const std::string& path) {
    const std::string bytes = read_file(path);
    const NpyHeader header = npy_header(path, bytes);
    const std::string_view type = value_of(path, header.text, "descr");
    const bool single = type.starts_with("'<f4'"), full = type.starts_with("'<f8'");
    if (!single && !full) throw FileError(path, "must hold float32 or float64; use astype(numpy.float32)");
    if (!value_of(path, header.text, "fortran_order").starts_with("False"))
        throw FileError(path, "is in Fortran order; use numpy.ascontiguousarray");
    PointTable table = npy_shape(path, header.text);
    const size_t held = (bytes.size() - header.data) / (single ? 4 : 8);
    if (table.rows == 0 || table.columns == 0) throw FileError(path, "holds no points");
    if (static_cast<size_t>(table.columns) > held || static_cast<size_t>(table.rows) > held / table.columns)
        throw FileError(path, "is cut off: fewer values than its header says");
    const size_t count = static_cast<size_t>(table.rows) * static_cast<size_t>(table.columns);
    single ? copy_values<float>(bytes.data() + header.data, count, table.values)
           : copy_values<double>(bytes.data() + header.data, count, table.values);
    return table;
}

// -- CSV --------------------------------------------------------------------------------------------------------

using Line = CsvLine;

std::optional<float> number(const std::string& field) {
    const size_t first = field.find_first_not_of(" \t+"), last = field.find_last_not_of(" \t");
    if (first == std::string::npos) return std::nullopt;
    float value = 0;
    const char* end = field.data() + last + 1;
    const auto [stop, problem] = std::from_chars(field.data() + first, end, value);
    if (problem != std::errc() || stop != end) return std::nullopt;
    return value;
}

bool all_numbers(const std::vector<Line>& lines, size_t first, size_t column) {
    for (size_t i = first; i < lines.size(); ++i)
        if (!number(lines[i][column])) return false;
    return true;
}

void check_widths(const std::string& path, const std::vector<Line>& lines) {
    if (lines.empty()) throw FileError(path, "holds no points");
    for (size_t i = 0; i < lines.size(); ++i)
        if (lines[i].size() != lines.front().size())
            throw FileError(path, "line " + std::to_string(i + 1) + " has " + std::to_string(lines[i].size()) +
                                      " fields, the first has " + std::to_string(lines.front().size()));
}

// The first line names the columns when some column is of numbers from the second line on, but not on the first.
bool has_header(const std::vector<Line>& lines) {
    if (lines.size() < 2) return false;
    for (size_t c = 0; c < lines.front().size(); ++c)
        if (!number(lines.front()[c]) && all_numbers(lines, 1, c)) return true;
    return false;
}

PointsFile read_csv(const std::string& path) {
    const std::vector<Line> lines = csv_lines(path, read_file(path));
    check_widths(path, lines);
    const size_t first = has_header(lines) ? 1 : 0;
    PointsFile file;
    std::vector<size_t> numeric, text;
    for (size_t c = 0; c < lines.front().size(); ++c) {
        const bool is_numeric = all_numbers(lines, first, c);
        (is_numeric ? numeric : text).push_back(c);
        if (first) (is_numeric ? file.columns : file.label_names).push_back(lines.front()[c]);
    }
    if (!first)
        for (const size_t c : text) file.label_names.push_back("column " + std::to_string(c + 1));
    if (numeric.empty()) throw FileError(path, "no column holds numbers alone");
    file.points = {static_cast<int64_t>(lines.size() - first), static_cast<int64_t>(numeric.size()), {}};
    for (size_t i = first; i < lines.size(); ++i) {
        for (const size_t c : numeric) file.points.values.push_back(*number(lines[i][c]));
        Line labels;
        for (const size_t c : text) labels.push_back(lines[i][c]);
        file.labels.push_back(std::move(labels));
    }
    return file;
}

}  // namespace

PointsFile read_points(const std::string& path) {
    if (ends_with(path, ".npy")) return {read_npy(path), {}, {}, {}};
    if (ends_with(path, ".csv")) return read_csv(path);
    throw FileError(path, "must end in .npy or .csv");
}

void write_npy(const std::string& path, const PointTable& points) {
    std::string header = "{'descr': '<f4', 'fortran_order': False, 'shape': (" + std::to_string(points.rows) + ", " +
                         std::to_string(points.columns) + "), }";
    // The values start at a multiple of 64, and the header ends its line.
    header.append((64 - (kMagicBytes + 2 + header.size() + 1) % 64) % 64, ' ');
    header += '\n';
    std::string bytes("\x93NUMPY\x01\x00", kMagicBytes);
    bytes += static_cast<char>(header.size() & 255);
    bytes += static_cast<char>(header.size() >> 8);
    bytes += header;
    bytes.append(reinterpret_cast<const char*>(points.values.data()), points.values.size() * sizeof(float));
    write_atomically(path, bytes);
}

}  // namespace savepoint
