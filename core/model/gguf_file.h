#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace savepoint {

// Value types of a GGUF header, numbered as the format numbers them.
enum class GgufType : uint32_t { u8, i8, u16, i16, u32, i32, f32, boolean, string, array, u64, i64, f64, count };

struct GgufValue {
    GgufType type = GgufType::count;
    GgufType element = GgufType::count;  // of an array
    uint64_t count = 1;
    uint64_t offset = 0;  // of the (first) value in the file
};

struct GgufTensor {
    std::string name;
    int type = 0;                    // ggml's type id
    std::vector<int64_t> shape;      // outermost first, as in `matrix [out, in]`
    uint64_t offset = 0, bytes = 0;  // in the file
};

// The header of a GGUF file, every length and offset of it checked against the file. It exists beside
// ggml's own reader because that one asserts (ends the process) on some hostile headers, and reports
// the rest on stderr without naming the field; a file that passes here is safe to hand to llama.cpp.
// All members throw FileError naming file and field.
class GgufFile {
   public:
    explicit GgufFile(const std::string& path);

    const std::string& path() const { return path_; }
    uint64_t file_bytes() const { return file_bytes_; }
    const std::vector<GgufTensor>& tensors() const { return tensors_; }
    const GgufTensor* find_tensor(const std::string& name) const;  // null when absent

    bool has(const std::string& key) const { return values_.contains(key); }
    std::string text(const std::string& key) const;
    std::string text_or(const std::string& key, const std::string& otherwise) const;
    int64_t integer(const std::string& key) const;  // of any integer type, not negative
    int64_t integer_or(const std::string& key, int64_t otherwise) const;
    double real(const std::string& key) const;  // f32 or f64, finite
    double real_or(const std::string& key, double otherwise) const;
    std::vector<std::string> texts(const std::string& key) const;
    // The element type and length of an array; {count, 0} when absent.
    GgufValue array_info(const std::string& key) const;

    [[noreturn]] void fail(const std::string& problem) const;

   private:
    class Cursor;
    void parse();
    void parse_value(Cursor& cursor, const std::string& key);
    void parse_tensor(Cursor& cursor, uint64_t index);
    void place_tensors(uint64_t data_start, uint64_t alignment);
    uint64_t alignment() const;
    const GgufValue& value(const std::string& key) const;

    std::string path_, head_;  // head_: the file's first bytes, as far as the header needs
    uint64_t file_bytes_ = 0;
    std::map<std::string, GgufValue> values_;
    std::vector<GgufTensor> tensors_;
};

}  // namespace savepoint
