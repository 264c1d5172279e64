#include "core/model/gguf_file.h"

#include <ggml.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <limits>
#include <set>

#include "core/model/error.h"

namespace savepoint {

static_assert(std::endian::native == std::endian::little, "GGUF is read in place, little-endian");

namespace {

constexpr uint64_t kFirstRead = 4u << 20;
constexpr uint64_t kLongestName = 1u << 16;
constexpr uint64_t kMaxAlignment = 1u << 20;

// The header goes on behind the bytes read so far, but within the file.
struct NeedMore {};

uint64_t size_of(GgufType type) {
    switch (type) {
        case GgufType::u8:
        case GgufType::i8:
        case GgufType::boolean:
            return 1;
        case GgufType::u16:
        case GgufType::i16:
            return 2;
        case GgufType::u32:
        case GgufType::i32:
        case GgufType::f32:
            return 4;
        case GgufType::u64:
        case GgufType::i64:
        case GgufType::f64:
            return 8;
        default:
            return 0;
    }
}

template <typename T>
T load(const std::string& bytes, uint64_t offset) {
    T value;
    std::memcpy(&value, bytes.data() + offset, sizeof(T));
    return value;
}

std::string read_start(const std::string& path, uint64_t bytes) {
    std::string head(bytes, '\0');
    std::ifstream file(path, std::ios::binary);
    file.read(head.data(), static_cast<std::streamsize>(bytes));
    if (static_cast<uint64_t>(file.gcount()) != bytes) throw FileError(path, "cannot be read to its end");
    return head;
}

}  // namespace

class GgufFile::Cursor {
   public:
    explicit Cursor(const GgufFile& file) : file_(file) {}

    uint64_t position() const { return at_; }

    template <typename T>
    T number(const std::string& field) {
        need(sizeof(T), field);
        T value = load<T>(file_.head_, at_);
        at_ += sizeof(T);
        return value;
    }

    std::string text(const std::string& field, uint64_t longest) {
        const auto length = number<uint64_t>(field);
        if (length > longest) file_.fail(field + " is " + std::to_string(length) + " bytes long");
        need(length, field);
        std::string value = file_.head_.substr(at_, length);
        at_ += length;
        return value;
    }

    void skip(uint64_t bytes, const std::string& field) {
        need(bytes, field);
        at_ += bytes;
    }

   private:
    void need(uint64_t bytes, const std::string& field) {
        if (bytes > file_.file_bytes_ - at_) file_.fail("ends inside " + field + "; the file is truncated or damaged");
        if (bytes > file_.head_.size() - at_) throw NeedMore{};
    }

    const GgufFile& file_;
    uint64_t at_ = 0;
};

GgufFile::GgufFile(const std::string& path) : path_(path) {
    std::error_code problem;
    file_bytes_ = std::filesystem::file_size(path, problem);
    if (problem) throw FileError(path, "cannot be opened: " + problem.message());
    for (uint64_t bytes = kFirstRead;; bytes *= 4) {
        head_ = read_start(path, std::min(bytes, file_bytes_));
        try {
            parse();
            return;
        } catch (const NeedMore&) {
            values_.clear();
            tensors_.clear();
        }
    }
}

void GgufFile::fail(const std::string& problem) const { throw FileError(path_, problem); }

void GgufFile::parse() {
    Cursor cursor(*this);
    if (head_.substr(0, 4) != "GGUF") fail("magic is not 'GGUF'; this is not a GGUF model file");
    cursor.skip(4, "the magic");
    const auto version = cursor.number<uint32_t>("version");
    if (version != 2 && version != 3) fail("version is " + std::to_string(version) + "; versions 2 and 3 are read");
    const auto tensor_count = cursor.number<uint64_t>("tensor count");
    const auto value_count = cursor.number<uint64_t>("metadata count");
    // A tensor entry takes at least 24 bytes and a value 13: more of them than fit is a lie.
    if (tensor_count > file_bytes_ / 24) fail("tensor count " + std::to_string(tensor_count) + " exceeds the file");
    if (value_count > file_bytes_ / 13) fail("metadata count " + std::to_string(value_count) + " exceeds the file");
    for (uint64_t i = 0; i < value_count; ++i) {
        const std::string key = cursor.text("metadata key " + std::to_string(i), kLongestName);
        if (key.empty()) fail("metadata key " + std::to_string(i) + " is empty");
        parse_value(cursor, key);
    }
    for (uint64_t i = 0; i < tensor_count; ++i) parse_tensor(cursor, i);
    place_tensors(cursor.position(), alignment());
}

void GgufFile::parse_value(Cursor& cursor, const std::string& key) {
    GgufValue value;
    value.type = static_cast<GgufType>(cursor.number<uint32_t>(key));
    GgufType element = value.type;
    if (value.type == GgufType::array) {
        element = value.element = static_cast<GgufType>(cursor.number<uint32_t>(key));
        value.count = cursor.number<uint64_t>(key);
    }
    value.offset = cursor.position();
    if (element == GgufType::string) {
        if (value.count > file_bytes_ / 8)
            fail(key + " has " + std::to_string(value.count) + " strings, more than fit");
        for (uint64_t i = 0; i < value.count; ++i) {
            const auto length = cursor.number<uint64_t>(key);
            cursor.skip(length, key);
        }
    } else {
        const uint64_t size = size_of(element);
        if (size == 0) fail(key + " has the unknown type " + std::to_string(static_cast<uint32_t>(element)));
        if (value.count > file_bytes_ / size)
            fail(key + " has " + std::to_string(value.count) + " elements, more than fit");
        cursor.skip(value.count * size, key);
    }
    if (!values_.emplace(key, value).second) fail(key + " is given twice");
}

void GgufFile::parse_tensor(Cursor& cursor, uint64_t index) {
    GgufTensor tensor;
    tensor.name = cursor.text("tensor name " + std::to_string(index), GGML_MAX_NAME - 1);
    const std::string field = "tensor " + tensor.name;
    if (find_tensor(tensor.name)) fail(field + " is given twice");
    const auto dimensions = cursor.number<uint32_t>(field);
    if (dimensions < 1 || dimensions > GGML_MAX_DIMS)
        fail(field + " has " + std::to_string(dimensions) + " dimensions");
    uint64_t elements = 1;
    for (uint32_t i = 0; i < dimensions; ++i) {
        const auto extent = cursor.number<uint64_t>(field);
        // No type packs more than 16 elements into a byte, so a larger product cannot be in the file.
        if (extent < 1 || extent > file_bytes_ * 16 / elements)
            fail(field + " has a dimension of " + std::to_string(extent) + ", which the file cannot hold");
        elements *= extent;
        tensor.shape.insert(tensor.shape.begin(), static_cast<int64_t>(extent));
    }
    const auto type = cursor.number<uint32_t>(field);
    if (type >= GGML_TYPE_COUNT) fail(field + " has the unknown type " + std::to_string(type));
    tensor.type = static_cast<int>(type);
    const ggml_type_traits* traits = ggml_get_type_traits(static_cast<ggml_type>(type));
    if (traits->blck_size < 1 || traits->type_size < 1) fail(field + " has the withdrawn type " + std::to_string(type));
    if (tensor.shape.back() % traits->blck_size)
        fail(field + " has rows that are no multiple of the block of its type");
    tensor.bytes = elements / traits->blck_size * traits->type_size;
    tensor.offset = cursor.number<uint64_t>(field);
    tensors_.push_back(std::move(tensor));
}

void GgufFile::place_tensors(uint64_t data_start, uint64_t alignment) {
    data_start = (data_start + alignment - 1) / alignment * alignment;
    for (GgufTensor& tensor : tensors_) {
        const bool inside = data_start <= file_bytes_ && tensor.offset <= file_bytes_ - data_start &&
                            tensor.bytes <= file_bytes_ - data_start - tensor.offset;
        if (!inside) fail("tensor " + tensor.name + " lies outside the file; the file is truncated or damaged");
        if (tensor.offset % alignment) fail("tensor " + tensor.name + " is not aligned");
        tensor.offset += data_start;
    }
}

uint64_t GgufFile::alignment() const {
    const std::string key = "general.alignment";
    if (!has(key)) return 32;
    if (value(key).type != GgufType::u32) fail(key + " is not of type u32");
    const auto alignment = static_cast<uint64_t>(integer(key));
    if (!std::has_single_bit(alignment) || alignment > kMaxAlignment) fail(key + " is " + std::to_string(alignment));
    return alignment;
}

const GgufTensor* GgufFile::find_tensor(const std::string& name) const {
    for (const GgufTensor& tensor : tensors_)
        if (tensor.name == name) return &tensor;
    return nullptr;
}

const GgufValue& GgufFile::value(const std::string& key) const {
    const auto found = values_.find(key);
    if (found == values_.end()) fail(key + " is missing");
    return found->second;
}

std::string GgufFile::text(const std::string& key) const {
    const GgufValue& found = value(key);
    if (found.type != GgufType::string) fail(key + " is not a string");
    return head_.substr(found.offset + 8, load<uint64_t>(head_, found.offset));
}

std::string GgufFile::text_or(const std::string& key, const std::string& otherwise) const {
    return has(key) ? text(key) : otherwise;
}

int64_t GgufFile::integer(const std::string& key) const {
    const GgufValue& found = value(key);
    int64_t number = -1;
    switch (found.type) {
        case GgufType::u8:
            number = load<uint8_t>(head_, found.offset);
            break;
        case GgufType::i8:
            number = load<int8_t>(head_, found.offset);
            break;
        case GgufType::u16:
            number = load<uint16_t>(head_, found.offset);
            break;
        case GgufType::i16:
            number = load<int16_t>(head_, found.offset);
            break;
        case GgufType::u32:
            number = load<uint32_t>(head_, found.offset);
            break;
        case GgufType::i32:
            number = load<int32_t>(head_, found.offset);
            break;
        case GgufType::u64:
        case GgufType::i64:
            number = load<int64_t>(head_, found.offset);
            break;
        default:
            fail(key + " is not an integer");
    }
    if (number < 0) fail(key + " is out of range");
    return number;
}

int64_t GgufFile::integer_or(const std::string& key, int64_t otherwise) const {
    return has(key) ? integer(key) : otherwise;
}

double GgufFile::real(const std::string& key) const {
    const GgufValue& found = value(key);
    double number = 0;
    if (found.type == GgufType::f32)
        number = load<float>(head_, found.offset);
    else if (found.type == GgufType::f64)
        number = load<double>(head_, found.offset);
    else
        fail(key + " is not a real number");
    if (!std::isfinite(number)) fail(key + " is not finite");
    return number;
}

double GgufFile::real_or(const std::string& key, double otherwise) const { return has(key) ? real(key) : otherwise; }

std::vector<std::string> GgufFile::texts(const std::string& key) const {
    const GgufValue& found = value(key);
    if (found.type != GgufType::array || found.element != GgufType::string) fail(key + " is not an array of strings");
    std::vector<std::string> strings;
    strings.reserve(found.count);
    uint64_t at = found.offset;
    for (uint64_t i = 0; i < found.count; ++i) {
        const auto length = load<uint64_t>(head_, at);
        strings.push_back(head_.substr(at + 8, length));
        at += 8 + length;
    }
    return strings;
}

GgufValue GgufFile::array_info(const std::string& key) const {
    if (!has(key)) return {GgufType::array, GgufType::count, 0, 0};
    const GgufValue& found = value(key);
    if (found.type != GgufType::array) fail(key + " is not an array");
    return found;
}

}  // namespace savepoint
