// Damaged and hostile model files: FileError, and never anything worse.
#include <filesystem>
#include <random>

#include "core/model/gguf_file.h"
#include "tests/core/model_fixture.h"

using namespace savepoint;
using namespace savepoint::testing;

namespace {

constexpr size_t kHeaderBytes = 1'785'664;  // of the default model, whose file has 98 MB

std::string header_of_model() {
    std::string bytes(kHeaderBytes, '\0');
    std::ifstream(model_path(), std::ios::binary).read(bytes.data(), static_cast<std::streamsize>(bytes.size()));
    return bytes;
}

// A file of the model's full length whose tensor data are zeros that take no space on the disk.
class ScratchFile {
   public:
    ScratchFile()
        : path_(std::filesystem::temp_directory_path() /
                ("savepoint_test_" + std::to_string(std::random_device{}()) + ".gguf")) {}
    ~ScratchFile() { std::filesystem::remove(path_); }
    std::string write(const std::string& header, size_t length) const {
        std::ofstream(path_, std::ios::binary | std::ios::trunc)
            .write(header.data(), static_cast<std::streamsize>(std::min(header.size(), length)));
        std::filesystem::resize_file(path_, length);
        return path_.string();
    }

   private:
    std::filesystem::path path_;
};

size_t model_bytes() { return std::filesystem::file_size(model_path()); }

// The message of the FileError, "" where the file was accepted.
template <typename Read>
std::string refusal(Read read) {
    try {
        read();
        return "";
    } catch (const FileError& problem) {
        return problem.what();
    }
}

std::string replaced(std::string bytes, const std::string& from, const std::string& to) {
    const size_t at = bytes.find(from);
    REQUIRE(at != std::string::npos);
    REQUIRE(from.size() == to.size());
    return bytes.replace(at, from.size(), to);
}

bool says(const std::string& message, const std::string& words) { return message.find(words) != std::string::npos; }

}  // namespace

TEST_CASE("files: the model's own file gives its configuration and hash") {
    const ModelConfig& c = shared_weights()->config();
    CHECK(c.layers == 30);
    CHECK(c.heads_per_kv() == 3);
    CHECK(c.vocab == 49152);
    CHECK(c.tied_head);
    CHECK(shared_weights()->sha256() == Reference::get().json["sha256"].get<std::string>());
    CHECK_THROWS_AS(shared_weights()->tensor("blocks.30.q"), FileError);
}

TEST_CASE("files: progress goes from 0 to 1, and can cancel") {
    double last = -1;
    bool rising = true;
    Weights::from_gguf(model_path(), [&](double done) {
        rising = rising && done >= last && done <= 1;
        last = done;
    });
    CHECK(rising);
    CHECK(last == 1);
    CHECK_THROWS_AS(Weights::from_gguf(model_path(),
                                       [](double done) {
                                           if (done > 0.5) throw Cancelled();
                                       }),
                    Cancelled);
}

TEST_CASE("files: what is not a model is refused by name") {
    const ScratchFile scratch;
    CHECK(says(refusal([] { Weights::from_gguf("/nowhere/model.gguf"); }), "/nowhere/model.gguf"));
    CHECK(!refusal([] { Weights::from_gguf("/tmp"); }).empty());
    CHECK(says(refusal([&] { Weights::from_gguf(scratch.write("", 0)); }), "magic"));
    CHECK(says(refusal([&] { Weights::from_gguf(scratch.write("PK\x03\x04zip", 100)); }), "magic"));
}

TEST_CASE("files: a truncated file is refused wherever it ends") {
    const ScratchFile scratch;
    const std::string header = header_of_model();
    std::vector<size_t> lengths = {3,
                                   4,
                                   7,
                                   12,
                                   23,
                                   24,
                                   30,
                                   100,
                                   500,
                                   1000,
                                   2000,
                                   100'000,
                                   1'700'000,
                                   kHeaderBytes - 1,
                                   kHeaderBytes,
                                   50'000'000,
                                   model_bytes() - 1};
    for (size_t length = 1; length < kHeaderBytes; length += 97'001) lengths.push_back(length);
    for (const size_t length : lengths) {
        const std::string path = scratch.write(header, length);
        CHECK(!refusal([&] { Weights::from_gguf(path); }).empty());
        CHECK(!refusal([&] { Tokenizer tokenizer(path); }).empty());
    }
}

TEST_CASE("files: a wrong field is refused by name") {
    const ScratchFile scratch;
    const std::string header = header_of_model();
    const auto reading = [&](const std::string& from, const std::string& to) {
        return refusal([&] { Weights::from_gguf(scratch.write(replaced(header, from, to), model_bytes())); });
    };
    CHECK(says(reading(std::string("\x05\0\0\0\0\0\0\0llama", 13), std::string("\x05\0\0\0\0\0\0\0lamma", 13)),
               "general.architecture"));
    CHECK(says(reading("llama.block_count", "llama.block_kount"), "llama.block_count"));
    CHECK(says(reading("blk.17.ffn_up.weight", "blk.17.ffn_oops.weig"), "blk.17.ffn_up.weight is missing"));
    const std::string layers = std::string("llama.block_count\x04\0\0\0", 21);
    CHECK(says(reading(layers + std::string("\x1e\0\0\0", 4), layers + std::string("\x1f\0\0\0", 4)), "blk.30."));
    CHECK(says(reading(layers + std::string("\x1e\0\0\0", 4), layers + std::string("\x1d\0\0\0", 4)), "not supported"));
    CHECK(!reading(layers + std::string("\x1e\0\0\0", 4), layers + std::string("\xff\xff\xff\x7f", 4)).empty());
    const std::string width = std::string("llama.embedding_length\x04\0\0\0", 26);
    CHECK(!reading(width + std::string("\x40\x02\0\0", 4), width + std::string("\0\0\0\0", 4)).empty());
    const std::string norm = std::string("blk.0.attn_norm.weight\x01\0\0\0\x40\x02\0\0\0\0\0\0", 34);
    CHECK(says(reading(norm, std::string("blk.0.attn_norm.weight\x01\0\0\0\xff\xff\xff\xff\xff\xff\xff\x7f", 34)),
               "blk.0.attn_norm.weight"));
    CHECK(says(reading(norm + std::string("\0\0\0\0", 4), norm + std::string("\x63\0\0\0", 4)), "unknown type"));
}

TEST_CASE("files: flipped bytes in the header never do worse than FileError") {
    const ScratchFile scratch;
    const std::string header = header_of_model();
    std::mt19937 random(7);
    int refused = 0, accepted = 0;
    // The beginning holds the sizes and names, the end the tensors' entries; both are read for the tokenizer too.
    for (int i = 0; i < 300; ++i) {
        std::string damaged = header;
        const size_t at = i % 2 ? random() % 2000 : kHeaderBytes - 1 - random() % 20'000;
        damaged[at] = static_cast<char>(damaged[at] ^ (1 << random() % 8));
        const std::string path = scratch.write(damaged, model_bytes());
        const std::string message = refusal([&] { GgufFile file(path); });
        message.empty() ? ++accepted : ++refused;
        if (i % 10 == 0) refusal([&] { Tokenizer tokenizer(path); });
    }
    CHECK(refused > 30);
    CHECK(accepted > 30);
}
