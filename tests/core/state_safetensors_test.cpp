#include <ATen/ATen.h>
#include <doctest/doctest.h>

#include <filesystem>
#include <fstream>

#include "core/model/error.h"
#include "core/state/files.h"
#include "core/state/safetensors.h"
#include "tests/core/state_toy.h"

using namespace savepoint;
using toy::same_bits;

namespace {

std::string with_header(const std::string& header, const std::string& data = "") {
    const uint64_t length = header.size();
    return std::string(reinterpret_cast<const char*>(&length), 8) + header + data;
}

std::string problem_of(const std::string& bytes) {
    try {
        from_safetensors(bytes, "t.safetensors");
    } catch (const FileError& e) {
        return e.what();
    }
    return "none";
}

}  // namespace

TEST_CASE("every dtype comes back bit for bit, with metadata") {
    TensorFile file;
    file.metadata = {{"format", "pt"}, {"note", "zwölf \"quoted\" \n"}};
    for (const auto type : {at::kFloat, at::kHalf, at::kBFloat16, at::kDouble, at::kLong, at::kInt, at::kShort,
                            at::kChar, at::kByte, at::kBool})
        file.tensors[std::string("t.") + c10::toString(type)] =
            at::arange(-3, 4).remainder(3).sub(1).abs().to(type).reshape({7, 1});
    file.tensors["scalar"] = at::scalar_tensor(3.5);
    file.tensors["empty"] = at::empty({0, 3});
    file.tensors["view"] = at::arange(12).reshape({3, 4}).t();
    const std::string bytes = to_safetensors(file);
    const TensorFile back = from_safetensors(bytes, "t");
    CHECK(back.metadata == file.metadata);
    REQUIRE(back.tensors.size() == file.tensors.size());
    for (const auto& [name, tensor] : file.tensors) CHECK_MESSAGE(same_bits(back.tensors.at(name), tensor), name);
    uint64_t length = 0;
    std::memcpy(&length, bytes.data(), 8);
    CHECK(length % 8 == 0);
    CHECK(from_safetensors(to_safetensors({}), "t").tensors.empty());
}

TEST_CASE("what cannot be stored is refused") {
    CHECK_THROWS_AS(to_safetensors({{{"a", {}}}, {}}), InputError);
    CHECK_THROWS_AS(to_safetensors({{{"a", at::zeros({1}, at::kComplexFloat)}}, {}}), InputError);
    CHECK_THROWS_AS(to_safetensors({{{"__metadata__", at::zeros({1})}}, {}}), InputError);
}

TEST_CASE("hostile safetensors") {
    const std::string four(16, 'x');
    const auto info = [](const std::string& dtype, const std::string& shape, const std::string& offsets) {
        return R"({"dtype":")" + dtype + R"(","shape":)" + shape + R"(,"data_offsets":)" + offsets + "}";
    };
    const auto one = [&](const std::string& entry) { return with_header("{\"a\":" + entry + "}", four); };
    CHECK(problem_of(one(info("F32", "[4]", "[0,16]"))) == "none");
    CHECK(problem_of(one(info("F32", "[2,2]", "[0,16]"))) == "none");
    const std::vector<std::string> hostile = {
        "",
        "1234567",
        std::string(8, '\0'),
        std::string(8, '\xff') + "{}",
        std::string("\x10\0\0\0\0\0\0\0{}", 10),
        with_header("[]"),
        with_header("7"),
        with_header("{\"a\":1}"),
        with_header("{} trailing"),
        with_header("{\"\xff\":{}}"),
        with_header(std::string(200, '[')),
        with_header(std::string(200, '[') + std::string(200, ']')),
        with_header("{\"__metadata__\":{\"a\":1}}"),
        with_header("{\"__metadata__\":[]}"),
        with_header("{}", four),
        one(info("F32", "[5]", "[0,16]")),
        one(info("F32", "[4]", "[0,17]")),
        one(info("F32", "[4]", "[4,20]")),
        one(info("F32", "[3]", "[0,12]")),
        one(info("F32", "[3]", "[4,16]")),
        one(info("F32", "[4]", "[16,0]")),
        one(info("F32", "[4]", "[-16,0]")),
        one(info("F32", "[4]", "[0,16,16]")),
        one(info("F32", "[4]", "[0,18446744073709551615]")),
        one(info("F32", "[4]", "[0.0,16.0]")),
        one(info("F32", "[-4]", "[0,16]")),
        one(info("F32", "[4.0]", "[0,16]")),
        one(info("F32", "[4294967296,4294967296]", "[0,16]")),
        one(info("F32", "[4611686018427387905]", "[0,16]")),
        one(info("F32", "[9223372036854775807,0]", "[0,0]")),
        one(info("F32", "[18446744073709551615]", "[0,16]")),
        one(info("F33", "[4]", "[0,16]")),
        one(info("", "[4]", "[0,16]")),
        one(R"({"dtype":7,"shape":[4],"data_offsets":[0,16]})"),
        one(R"({"dtype":"F32","data_offsets":[0,16]})"),
        one(R"({"dtype":"F32","shape":4,"data_offsets":[0,16]})"),
        one(R"({"dtype":"F32","shape":[4]})"),
        with_header("{\"a\":" + info("F32", "[4]", "[0,16]") + ",\"a\":" + info("F32", "[4]", "[0,16]") + "}", four),
        with_header("{\"a\":" + info("F32", "[4]", "[0,16]") + ",\"b\":" + info("F32", "[4]", "[0,16]") + "}", four),
        with_header("{\"a\":" + info("F32", "[3]", "[0,12]") + ",\"b\":" + info("F32", "[2]", "[8,16]") + "}", four),
        with_header("{\"a\":" + info("F32", "[1]", "[0,4]") + ",\"b\":" + info("F32", "[2]", "[8,16]") + "}", four),
    };
    for (size_t i = 0; i < hostile.size(); ++i) {
        const std::string problem = problem_of(hostile[i]);
        CHECK_MESSAGE(problem.starts_with("t.safetensors: "), "case ", i, ": ", problem);
    }
}

TEST_CASE("a bool is true or false, whatever byte is in the file") {
    const TensorFile file = from_safetensors(
        with_header(R"({"a":{"dtype":"BOOL","shape":[3],"data_offsets":[0,3]}})", std::string("\0\x02\xff", 3)), "t");
    CHECK(file.tensors.at("a").sum().item<int64_t>() == 2);
}

TEST_CASE("files: written at once or not at all") {
    const toy::Folder folder;
    const std::string path = folder.path("a.safetensors");
    write_safetensors(path, {{{"a", at::ones({3})}}, {}});
    write_safetensors(path, {{{"a", at::zeros({3})}}, {}});
    CHECK(read_safetensors(path).tensors.at("a").sum().item<float>() == 0);
    CHECK_THROWS_AS(write_atomically(folder.path("none/a"), "x"), FileError);
    CHECK_THROWS_AS(write_atomically(folder.path(""), "x"), FileError);
    CHECK_THROWS_AS(read_file(folder.path("none")), FileError);
    CHECK_THROWS_AS(read_file(folder.path("")), FileError);
    CHECK_THROWS_AS(read_file("/dev/zero"), FileError);
    size_t files = 0;
    for (const auto& entry : std::filesystem::directory_iterator(folder.path(""))) files += entry.is_regular_file();
    CHECK(files == 1);
}
