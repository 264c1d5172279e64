#include <ATen/ATen.h>

#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "core/analysis/points_file.h"
#include "core/model/error.h"
#include "core/state/safetensors.h"

#include <doctest/doctest.h>

using namespace savepoint;

namespace {

struct Folder {
    Folder() { std::filesystem::create_directories(path); }
    ~Folder() { std::filesystem::remove_all(path); }
    std::string write(const std::string& name, const std::string& bytes) const {
        std::ofstream(path / name, std::ios::binary) << bytes;
        return (path / name).string();
    }
    std::filesystem::path path =
        std::filesystem::temp_directory_path() / ("savepoint-points-" + std::to_string(getpid()));
};

std::string npy(const std::string& header, const std::string& values) {
    std::string bytes("\x93NUMPY\x01\x00", 8);
    bytes += static_cast<char>(header.size());
    bytes += '\0';
    return bytes + header + values;
}

}  // namespace

TEST_CASE("NPY: what is written is read, bit for bit") {
    const Folder folder;
    const PointTable points{3, 2, {1.5f, -2, 0.1f, 1e-30f, 7, 8}};
    const std::string path = (folder.path / "points.npy").string();
    write_npy(path, points);
    CHECK(read_points(path).points == points);
    const std::string bytes = read_file(path);
    CHECK(bytes.size() == 128 + 24);  // as numpy.save lays it out
    CHECK(bytes[127] == '\n');
}

TEST_CASE("NPY: float64, and all that is refused") {
    const Folder folder;
    const double values[4] = {1, 2, 3, 0.5};
    const std::string full(reinterpret_cast<const char*>(values), sizeof values);
    const auto read = [&](const std::string& bytes) { return read_points(folder.write("x.npy", bytes)).points; };
    const std::string head = "{'descr': '<f8', 'fortran_order': False, 'shape': ";
    CHECK(read(npy(head + "(2, 2), }\n", full)) == PointTable{2, 2, {1, 2, 3, 0.5f}});
    for (const char* shape : {"(4,), }", "(2, 3), }", "(1, 2, 2), }", "(9223372036854775807, 2), }",
                              "(99999999999999999999, 2), }", "(-1, 4), }", "(0, 4), }", "(2, 2", "2, 2), }", ""})
        CHECK_THROWS_AS(read(npy(head + shape, full)), FileError);
    CHECK_THROWS_AS(read(npy("{'descr': '<i4', 'fortran_order': False, 'shape': (2, 2), }", full)), FileError);
    CHECK_THROWS_AS(read(npy("{'descr': '<f8', 'fortran_order': True, 'shape': (2, 2), }", full)), FileError);
    CHECK_THROWS_AS(read(npy("{'descr': '<f8', 'shape': (2, 2), }", full)), FileError);
    const std::string good = npy(head + "(2, 2), }\n", full);
    for (size_t length = 0; length < good.size(); ++length) CHECK_THROWS_AS(read(good.substr(0, length)), FileError);
    std::string long_header = good;
    long_header[9] = '\x7f';
    CHECK_THROWS_AS(read(long_header), FileError);
}

TEST_CASE("CSV: numbers are coordinates, the rest labels, with a header or without") {
    const Folder folder;
    const PointsFile file =
        read_points(folder.write("a.csv", "text,x,y\r\n\"a, \"\"b\"\"\",1,2.5\r\n\"two\nlines\",-3e2, 4\r\n\r\n"));
    CHECK(file.points == PointTable{2, 2, {1, 2.5f, -300, 4}});
    CHECK(file.columns == std::vector<std::string>{"x", "y"});
    CHECK(file.label_names == std::vector<std::string>{"text"});
    CHECK(file.labels == std::vector<std::vector<std::string>>{{"a, \"b\""}, {"two\nlines"}});
    const PointsFile plain = read_points(folder.write("b.csv", "1,2\n3,4"));
    CHECK(plain.points == PointTable{2, 2, {1, 2, 3, 4}});
    CHECK(plain.columns.empty());
    for (const char* bad : {"", "\n\n", "1,2\n3\n", "a,b\nc,d\n", "\"1,2\n"})
        CHECK_THROWS_AS(read_points(folder.write("c.csv", bad)), FileError);
    CHECK_THROWS_AS(read_points(folder.write("d.txt", "1")), FileError);
    CHECK_THROWS_AS(read_points((folder.path / "absent.npy").string()), FileError);
}
